using System.Runtime.InteropServices;
using Samepage.Linux.Program;

namespace Samepage.Linux.Interop;

/// <summary>futex(2) on memory shared with another process.</summary>
internal static class SharedFutex
{
    /// <summary>Waits while the 32 bits at an address have a value: until somebody wakes, or for a time.</summary>
    public static unsafe void Wait(nint address, int value, TimeSpan limit)
    {
        long* time = stackalloc long[2];
        time[0] = 0;
        time[1] = Math.Min((long)limit.TotalNanoseconds, 999_999_999);

        // SAFETY: the kernel reads the word, which belongs to a mapping of the caller's, and the timespec of this frame.
        _ = Libc.syscall(Abi.SYS_futex, address, Abi.FUTEX_WAIT, value, (nint)time);
    }

    /// <summary>Wakes one who waits.</summary>
    public static void Wake(nint address) => _ = Libc.syscall(Abi.SYS_futex, address, Abi.FUTEX_WAKE, 1);
}
