using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Samepage.Linux.Interop;

/// <summary>Reading requests from and writing answers to a descriptor of /dev/fuse; an eventfd to stop with.</summary>
internal static unsafe partial class FuseDevice
{
    internal const long SYS_eventfd2 = 290;
    internal const int EFD_CLOEXEC = 0x80000;
    internal const int F_GETFL = 3;
    internal const int F_SETFL = 4;
    internal const int O_NONBLOCK = 0x800;

    /// <summary>Reads one request; -1 with errno EAGAIN when there is none.</summary>
    internal static nint Read(SafeFileHandle device, Span<byte> buffer)
    {
        // SAFETY: the span is pinned for the call and its own length bounds what the kernel writes.
        fixed (byte* start = buffer)
        {
            return read(device, start, (nuint)buffer.Length);
        }
    }

    /// <summary>Writes one answer; -1 on failure.</summary>
    internal static nint Write(SafeFileHandle device, ReadOnlySpan<byte> message)
    {
        // SAFETY: the span is pinned for the call and its own length bounds what the kernel reads.
        fixed (byte* start = message)
        {
            return write(device, start, (nuint)message.Length);
        }
    }

    /// <summary>A new eventfd.</summary>
    internal static SafeFileHandle NewEvent() =>
        new((nint)Libc.Check(Libc.syscall(SYS_eventfd2, 0, EFD_CLOEXEC), "eventfd2"), ownsHandle: true);

    /// <summary>Makes an eventfd readable for ever.</summary>
    internal static void Signal(SafeFileHandle signal)
    {
        ReadOnlySpan<byte> one = [1, 0, 0, 0, 0, 0, 0, 0];
        _ = Write(signal, one);
    }

    /// <summary>Waits until the device has a request (or has gone) or the event was signalled.</summary>
    /// <returns>True when it was signalled.</returns>
    internal static bool WaitForRequest(SafeFileHandle device, SafeFileHandle signal)
    {
        Pidfd.pollfd* both = stackalloc Pidfd.pollfd[2];
        both[0] = new Pidfd.pollfd { fd = (int)device.DangerousGetHandle(), events = Pidfd.POLLIN };
        both[1] = new Pidfd.pollfd { fd = (int)signal.DangerousGetHandle(), events = Pidfd.POLLIN };

        // SAFETY: two structures on the stack, and the count says two; the handles are held open by the caller.
        while (poll(both, 2, -1) < 0 && Errno.Last == Errno.EINTR)
        {
            // Once more.
        }

        return both[1].revents != 0;
    }

    /// <summary>Makes reads of a descriptor return at once.</summary>
    internal static void SetNonBlocking(SafeFileHandle device)
    {
        var flags = Libc.Check(fcntl(device, F_GETFL, 0), "fcntl");
        _ = Libc.Check(fcntl(device, F_SETFL, (int)flags | O_NONBLOCK), "fcntl");
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(SafeFileHandle fd, byte* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint write(SafeFileHandle fd, byte* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(Pidfd.pollfd* descriptors, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fcntl(SafeFileHandle fd, int command, int argument);
}
