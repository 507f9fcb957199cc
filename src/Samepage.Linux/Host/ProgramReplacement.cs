using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Host;

/// <summary>
/// Becomes another program (execve), which then has this process's pid, terminal and parent, and finds everything the
/// .NET runtime changed as it was at entry: SIGPIPE's default action and the soft limit of open files. Arguments and
/// environment are passed on as bytes, since neither has to be valid UTF-8.
/// </summary>
internal static class ProgramReplacement
{
    /// <summary>Set by the wrapper script: the soft limit before the runtime raised it. Not passed on.</summary>
    private const string SoftLimitVariable = "SAMEPAGE_SOFT_NOFILE";

    // Set by the wrapper script, too: it has set DOTNET_ROOT for this program only.
    private const string SetRootVariable = "SAMEPAGE_SET_DOTNET_ROOT";

    /// <summary>Last arguments of this process, as bytes without their final zero.</summary>
    internal static byte[][] LastArguments(int count)
    {
        var all = Split(File.ReadAllBytes("/proc/self/cmdline"));
        return all[Math.Max(0, all.Length - count)..];
    }

    /// <summary>Where execvp would find a program; null when nowhere.</summary>
    internal static string? Find(string program)
    {
        if (program.Contains('/', StringComparison.Ordinal))
        {
            return File.Exists(program) ? program : null;
        }

        var path = Environment.GetEnvironmentVariable("PATH") ?? "/bin:/usr/bin";
        foreach (var folder in path.Split(':'))
        {
            var candidate = Path.Combine(folder.Length == 0 ? "." : folder, program);
            if (File.Exists(candidate) && (File.GetUnixFileMode(candidate) & AnyExecute) != 0)
            {
                return candidate;
            }
        }

        return null;
    }

    /// <summary>Replaces this program. Returns only when that failed.</summary>
    /// <returns>The error number.</returns>
    internal static unsafe int Execute(string path, byte[][] arguments)
    {
        RestoreSoftLimit();
        RestoreBrokenPipeSignal();
        string[] ours = Environment.GetEnvironmentVariable(SetRootVariable) is null
            ? [SoftLimitVariable]
            : [SoftLimitVariable, SetRootVariable, "DOTNET_ROOT"];
        var prefixes = ours.Select(name => Encoding.ASCII.GetBytes(name + "=")).ToArray();
        var environment = Split(File.ReadAllBytes("/proc/self/environ"))
            .Where(variable => !prefixes.Any(prefix => variable.AsSpan().StartsWith(prefix))).ToArray();

        // SAFETY: the strings are zero-terminated copies in native memory and the tables end with a null pointer. They
        // are not freed: after success the address space is gone, after failure the process ends.
        var argv = NativeTable(arguments);
        var envp = NativeTable(environment);
        fixed (byte* program = Encoding.UTF8.GetBytes(path + "\0"))
        {
            Libc.syscall(HostCalls.SYS_execve, (nint)program, argv, envp);
            return Marshal.GetLastPInvokeError();
        }
    }

    private const UnixFileMode AnyExecute =
        UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    private static byte[][] Split(byte[] strings)
    {
        var list = new List<byte[]>();
        var rest = strings.AsSpan();
        while (!rest.IsEmpty)
        {
            var zero = rest.IndexOf((byte)0);
            list.Add(rest[..(zero < 0 ? rest.Length : zero)].ToArray());
            rest = zero < 0 ? [] : rest[(zero + 1)..];
        }

        return [.. list];
    }

    private static unsafe nint NativeTable(byte[][] strings)
    {
        // SAFETY: one pointer per string and a null at the end; each copy has room for its final zero (zeroed memory).
        var table = (byte**)NativeMemory.AllocZeroed((nuint)strings.Length + 1, (nuint)sizeof(byte*));
        for (var i = 0; i < strings.Length; i++)
        {
            table[i] = (byte*)NativeMemory.AllocZeroed((nuint)strings[i].Length + 1);
            strings[i].CopyTo(new Span<byte>(table[i], strings[i].Length));
        }

        return (nint)table;
    }

    // The runtime raises the soft limit to the hard one at start-up. Programs that still use select() break with more
    // than 1024 descriptors, so the command gets back what it would have had.
    private static unsafe void RestoreSoftLimit()
    {
        var parent = ProcessFacts.Parent(Environment.ProcessId) ?? 0;
        var soft = ulong.TryParse(Environment.GetEnvironmentVariable(SoftLimitVariable), out var atEntry)
            ? atEntry
            : ProcessFacts.SoftOpenFilesLimit(parent);
        if (soft is not { } limit)
        {
            return;
        }

        // SAFETY: two 64-bit numbers (soft, hard), as prlimit64 reads and writes them.
        var limits = stackalloc ulong[2];
        if (Libc.syscall(HostCalls.SYS_prlimit64, 0, HostCalls.RLIMIT_NOFILE, 0, (nint)limits) == 0)
        {
            limits[0] = Math.Min(limit, limits[1]);
            Libc.syscall(HostCalls.SYS_prlimit64, 0, HostCalls.RLIMIT_NOFILE, (nint)limits, 0);
        }
    }

    // Handlers become the default at execve by themselves; "ignored", which the runtime sets for SIGPIPE, stays.
    private static unsafe void RestoreBrokenPipeSignal()
    {
        // SAFETY: zeroed kernel_sigaction: SIG_DFL, no flags, empty mask; 8 is the size of the kernel's signal set.
        var action = stackalloc byte[HostCalls.KernelSigactionBytes];
        new Span<byte>(action, HostCalls.KernelSigactionBytes).Clear();
        Libc.syscall(HostCalls.SYS_rt_sigaction, HostCalls.SIGPIPE, (nint)action, 0, 8);
    }
}
