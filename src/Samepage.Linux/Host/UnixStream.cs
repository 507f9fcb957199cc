using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Host;

/// <summary>
/// A connected stream socket in the file system, straight on the system calls. The framework's Socket costs 20 ms of
/// start-up in a process that asks one question and ends; this costs none. The descriptor is close-on-exec, so that an
/// execve closes the connection: the daemon takes that as the sign that <c>samepage run</c> has become the command.
/// </summary>
internal sealed class UnixStream : IDisposable
{
    private const int PathBytesMax = 107; // sockaddr_un.sun_path without its final zero
    private int fd;

    private UnixStream(int fd) => this.fd = fd;

    /// <summary>Connects to the socket at <paramref name="path"/>.</summary>
    /// <param name="path">File system path, at most 107 bytes.</param>
    /// <param name="errno">0, or why nothing was connected (ENAMETOOLONG for a path that cannot be one).</param>
    internal static UnixStream? Connect(string path, out int errno)
    {
        var address = new byte[2 + PathBytesMax + 1];
        if (Encoding.UTF8.GetByteCount(path) > PathBytesMax)
        {
            errno = HostCalls.ENAMETOOLONG;
            return null;
        }

        address[0] = HostCalls.AF_UNIX;
        Encoding.UTF8.GetBytes(path, address.AsSpan(2));
        var fd = (int)Libc.syscall(HostCalls.SYS_socket, HostCalls.AF_UNIX, HostCalls.SOCK_STREAM_CLOEXEC);
        if (fd < 0)
        {
            errno = Marshal.GetLastPInvokeError();
            return null;
        }

        if (Connect(fd, address) == 0)
        {
            errno = 0;
            return new UnixStream(fd);
        }

        errno = Marshal.GetLastPInvokeError();
        Libc.syscall(HostCalls.SYS_close, fd);
        return null;
    }

    /// <summary>Sends all bytes.</summary>
    /// <exception cref="IOException">The other end is gone.</exception>
    internal unsafe void Send(ReadOnlySpan<byte> bytes)
    {
        // SAFETY: the span is pinned while the kernel reads it and its length is passed with it.
        fixed (byte* start = bytes)
        {
            var sent = 0;
            while (sent < bytes.Length)
            {
                var now = Libc.syscall(
                    HostCalls.SYS_sendto, fd, (nint)(start + sent), bytes.Length - sent, HostCalls.MSG_NOSIGNAL);
                if (now < 0 && Marshal.GetLastPInvokeError() != Errno.EINTR)
                {
                    throw new IOException($"the daemon closed the connection (errno {Marshal.GetLastPInvokeError()})");
                }

                sent += (int)Math.Max(now, 0);
            }
        }
    }

    /// <summary>Receives what is there, at least one byte; 0 at the end of the stream.</summary>
    /// <exception cref="IOException">The connection broke.</exception>
    internal unsafe int Receive(Span<byte> buffer)
    {
        // SAFETY: the span is pinned while the kernel writes to it and its length is passed with it.
        fixed (byte* start = buffer)
        {
            while (true)
            {
                var now = Libc.syscall(HostCalls.SYS_recvfrom, fd, (nint)start, buffer.Length);
                if (now >= 0)
                {
                    return (int)now;
                }

                if (Marshal.GetLastPInvokeError() != Errno.EINTR)
                {
                    throw new IOException($"the connection broke (errno {Marshal.GetLastPInvokeError()})");
                }
            }
        }
    }

    public void Dispose()
    {
        if (fd >= 0)
        {
            Libc.syscall(HostCalls.SYS_close, fd);
            fd = -1;
        }
    }

    private static unsafe long Connect(int fd, byte[] address)
    {
        // SAFETY: the array is pinned during the call and its length is passed with it.
        fixed (byte* start = address)
        {
            return Libc.syscall(HostCalls.SYS_connect, fd, (nint)start, address.Length);
        }
    }
}
