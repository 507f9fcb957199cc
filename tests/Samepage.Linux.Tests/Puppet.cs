using System.Diagnostics;
using System.Globalization;

namespace Samepage.Linux.Tests;

/// <summary>Compiles C sources of this project once per run; without a compiler the test is skipped.</summary>
internal static class CCompiler
{
    private static readonly Lock Gate = new();
    private static readonly string Folder = Directory.CreateTempSubdirectory("samepage-tests-").FullName;

    static CCompiler() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(Folder, recursive: true);

    internal static string Build(string name, string source, params string[] options)
    {
        lock (Gate)
        {
            string output = Path.Combine(Folder, name);
            if (File.Exists(output))
            {
                return output;
            }

            string input = output + ".c";
            File.WriteAllText(input, source);
            (int code, string errors) = Run([.. options, "-o", output, input]);
            Assert.True(code == 0, errors);
            return output;
        }
    }

    private static (int Code, string Errors) Run(string[] arguments)
    {
        Process gcc;
        try
        {
            gcc = Process.Start(new ProcessStartInfo("gcc", arguments) { RedirectStandardError = true })!;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("no C compiler (gcc) on this machine");
            throw;
        }

        using (gcc)
        {
            string errors = gcc.StandardError.ReadToEnd();
            gcc.WaitForExit();
            return (gcc.ExitCode, errors);
        }
    }
}

/// <summary>A child process (Puppet.c) that maps, writes and reads its memory on command.</summary>
internal sealed class Puppet : IDisposable
{
    internal const int ReadWrite = 3;
    private readonly Process _process;

    private Puppet(Process process) => _process = process;

    internal int Pid => _process.Id;

    internal static Puppet Start()
    {
        string source = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Puppet.c"));
        string program = CCompiler.Build("puppet", source, "-O1", "-Wall", "-pthread");
        return new Puppet(Process.Start(new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!);
    }

    /// <summary>Sends a line and returns the number that comes back.</summary>
    internal ulong Do(string command)
    {
        _process.StandardInput.WriteLine(command);
        _process.StandardInput.Flush();
        string answer = _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException("the puppet died");
        return ulong.Parse(answer, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }

    /// <summary>Sends a line that gets no answer.</summary>
    internal void Tell(string command)
    {
        _process.StandardInput.WriteLine(command);
        _process.StandardInput.Flush();
    }

    internal ulong Map(int pages, int protection = ReadWrite)
    {
        ulong address = Do($"map {pages} {protection}");
        Assert.NotEqual(ulong.MaxValue, address);
        return address;
    }

    internal void Fill(ulong address, int pages, int seed = 1) => Do($"fill {address:x} {pages} {seed}");

    internal void Expect(string command) => Assert.Equal(0ul, Do(command));

    internal static PageRange Pages(ulong address, int pages) =>
        PageRange.FromAddresses(address, address + ((ulong)pages * PageSize.Bytes));

    internal static void SkipUnlessRoot() =>
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root (CAP_SYS_ADMIN, CAP_SYS_PTRACE)");

    /// <summary>Ends the process and waits until it is gone.</summary>
    internal void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        Kill();
        _process.Dispose();
    }
}
