using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Samepage.Linux.Interop;

/// <summary>linux/pidfd.h and poll.h: processes as descriptors (Linux 5.3; pidfd_getfd 5.6).</summary>
internal static unsafe partial class Pidfd
{
    internal const long SYS_pidfd_send_signal = 424;
    internal const long SYS_pidfd_open = 434;
    internal const long SYS_pidfd_getfd = 438;
    internal const short POLLIN = 1;

    [StructLayout(LayoutKind.Sequential)]
    internal struct pollfd
    {
        internal int fd;
        internal short events;
        internal short revents;
    }

    /// <summary>Opens a process; the handle is invalid on failure.</summary>
    internal static SafeFileHandle Open(int pid) =>
        new((nint)Libc.syscall(SYS_pidfd_open, pid), ownsHandle: true);

    /// <summary>Duplicates a descriptor out of a process (needs ptrace permission); invalid on failure.</summary>
    internal static SafeFileHandle GetDescriptor(SafeFileHandle process, int descriptor) =>
        new((nint)Libc.syscall(SYS_pidfd_getfd, process.DangerousGetHandle(), descriptor), ownsHandle: true);

    /// <summary>True once the process has exited, also while it is a zombie.</summary>
    internal static bool HasExited(SafeFileHandle process)
    {
        pollfd poll = new() { fd = (int)process.DangerousGetHandle(), events = POLLIN };
        // SAFETY: one structure on the stack, and the count says one.
        return Pidfd.poll(&poll, 1, 0) == 1;
    }

    /// <summary>True when a descriptor reports one of <paramref name="events"/> (POLLHUP, POLLERR) now.</summary>
    internal static bool HasHungUp(SafeFileHandle descriptor, short events)
    {
        pollfd poll = new() { fd = (int)descriptor.DangerousGetHandle() };
        // SAFETY: one structure on the stack, and the count says one.
        return Pidfd.poll(&poll, 1, 0) == 1 && (poll.revents & events) != 0;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(pollfd* descriptors, nuint count, int timeoutMilliseconds);
}
