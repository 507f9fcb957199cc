using System.Globalization;
using System.Text;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.KsmCalls;

namespace Samepage.Linux.Interception;

/// <summary>Who a thread belongs to. Every answer is about whoever has the number now: the callers check afterwards
/// that the intercepted call still waits.</summary>
internal static class CallerFacts
{
    private const uint ForkedAndNotExecuted = 0x40; // PF_FORKNOEXEC, include/linux/sched.h

    /// <summary>True when two processes or threads share one address space.</summary>
    internal static bool ShareMemory(int one, int other) => Libc.syscall(SYS_kcmp, one, other, KCMP_VM) == 0;

    /// <summary>Process a thread belongs to, and that one's parent.</summary>
    internal static bool TryFind(int thread, out int process, out int parent)
    {
        process = parent = 0;
        foreach (string line in (Read($"/proc/{thread}/status") ?? "").Split('\n'))
        {
            if (line.StartsWith("Tgid:", StringComparison.Ordinal))
            {
                process = int.Parse(line.AsSpan(5), NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture);
            }
            else if (line.StartsWith("PPid:", StringComparison.Ordinal))
            {
                parent = int.Parse(line.AsSpan(5), NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture);
                return process > 0;
            }
        }

        return false;
    }

    /// <summary>True when a process has executed a program since it was forked.</summary>
    internal static bool HasExecuted(int pid)
    {
        string? stat = Read($"/proc/{pid}/stat");
        string[]? fields = stat?[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields is { Length: > 6 } && uint.TryParse(fields[6], CultureInfo.InvariantCulture, out uint flags)
            && (flags & ForkedAndNotExecuted) == 0;
    }

    /// <summary>The file behind a descriptor of a thread; null when it is not open.</summary>
    internal static DeviceIdentity? Descriptor(int thread, uint number) =>
        Identity($"/proc/{thread}/fd/{number}");

    /// <summary>True for a descriptor that only names a file (O_PATH): the kernel refuses every call on it.</summary>
    internal static bool OnlyNames(int thread, uint number)
    {
        const string Flags = "flags:";
        string? line = Read($"/proc/{thread}/fdinfo/{number}")?.Split('\n')
            .FirstOrDefault(line => line.StartsWith(Flags, StringComparison.Ordinal));
        return line is not null && (Convert.ToInt64(line[Flags.Length..].Trim(), 8) & Fcntl.O_PATH) != 0;
    }

    /// <summary>The file a path leads to.</summary>
    internal static unsafe DeviceIdentity? Identity(string path)
    {
        const int StatBytes = 144;
        ulong* stat = stackalloc ulong[StatBytes / sizeof(ulong)];
        fixed (byte* name = Encoding.UTF8.GetBytes(path + "\0"))
        {
            // SAFETY: a zero-terminated path and room for x86-64's struct stat, which begins with device and inode.
            return Libc.syscall(SYS_stat, (nint)name, (nint)stat) == 0 ? new DeviceIdentity(stat[0], stat[1]) : null;
        }
    }

    /// <summary>Reads another process's memory.</summary>
    /// <returns>False when it is not all there.</returns>
    internal static unsafe bool TryRead(int pid, ulong address, Span<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            Uio.iovec local = new() { iov_base = (nuint)start, iov_len = (nuint)bytes.Length };
            Uio.iovec remote = new() { iov_base = (nuint)address, iov_len = (nuint)bytes.Length };
            // SAFETY: one piece on either side, the local one pinned and of its own length.
            return Uio.process_vm_readv(pid, &local, 1, &remote, 1, 0) == bytes.Length;
        }
    }

    private static string? Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
