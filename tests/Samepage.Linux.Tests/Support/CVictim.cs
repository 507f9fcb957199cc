using System.Security.Cryptography;
using System.Text;
using Xunit;

namespace Samepage.Linux.Tests.Support;

/// <summary>A victim from Victims/*.c, compiled on first use and kept under the hash of its sources.</summary>
internal sealed class CVictim : Victim
{
    private static readonly Lock CompileLock = new();

    private CVictim(DetachedProcess process)
        : base(process)
    {
    }

    /// <summary>Starts <c>Victims/NAME.c</c>.</summary>
    /// <param name="isStatic">Linked statically: no dynamic loader, no shared library.</param>
    /// <param name="preload">Library for LD_PRELOAD; jemalloc is told to give memory back at once.</param>
    public static CVictim Start(
        string name, IEnumerable<string> arguments, bool isStatic = false, string? preload = null)
    {
        IEnumerable<(string, string)> environment = preload is null
            ? []
            : [("LD_PRELOAD", preload), ("MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")];
        return new CVictim(DetachedProcess.Start(Compile(name, isStatic), arguments, environment));
    }

    /// <summary>Path of the executable. Skips the test when there is no compiler.</summary>
    public static string Compile(string name, bool isStatic = false)
    {
        Assert.SkipUnless(TestPaths.Which("gcc") is not null, "gcc is missing (Debian package gcc)");
        string source = Path.Combine(TestPaths.Victims, name + ".c");
        // Small stacks have no room for canaries, and those live in thread-local storage.
        string[] options = ["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-fno-stack-protector"];
        string hash = HashOf(source, options, isStatic);
        string program = Path.Combine(AppContext.BaseDirectory, "victims", $"{name}-{hash}");
        lock (CompileLock)
        {
            if (!File.Exists(program))
            {
                Directory.CreateDirectory(Path.GetDirectoryName(program)!);
                string fresh = $"{program}.{Environment.ProcessId}";
                string[] linking = isStatic ? ["-static"] : [];
                DetachedProcess.Run("gcc", [.. options, .. linking, source, "-o", fresh]);
                // Another test process may do the same: the last one to come wins, and both are equal.
                File.Move(fresh, program, overwrite: true);
            }
        }

        return program;
    }

    private static string HashOf(string source, string[] options, bool isStatic)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{string.Join(' ', options)} {isStatic}"));
        var headers = Directory.GetFiles(TestPaths.Victims, "*.h").Order(StringComparer.Ordinal);
        foreach (string file in headers.Append(source))
        {
            hash.AppendData(File.ReadAllBytes(file));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }
}
