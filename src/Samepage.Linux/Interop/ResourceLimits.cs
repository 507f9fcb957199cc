namespace Samepage.Linux.Interop;

/// <summary>prlimit(2) of another process.</summary>
internal static unsafe class ResourceLimits
{
    private const int SYS_prlimit64 = 302, RLIMIT_NOFILE = 7;

    /// <summary>Soft limit of open files; 1024 when it cannot be read.</summary>
    public static long OpenFiles(int pid)
    {
        ulong* limit = stackalloc ulong[2];

        // SAFETY: struct rlimit64 is two words on this frame.
        return Libc.syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, 0, (nint)limit) == 0
            ? (long)Math.Min(limit[0], int.MaxValue)
            : 1024;
    }
}
