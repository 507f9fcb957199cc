using System.Runtime.InteropServices;
using System.Text;

namespace Samepage.Linux.Interop;

/// <summary>memfd_create and the few file calls the live machine needs on bare descriptors.</summary>
internal static unsafe class MemoryFile
{
    private const int SYS_memfd_create = 319, SYS_ftruncate = 77, SYS_pread64 = 17, SYS_pwrite64 = 18, SYS_openat = 257;
    private const int SYS_close = 3, MFD_CLOEXEC = 1, MFD_EXEC = 0x10, EINVAL = 22;

    /// <summary>A memfd of the given size whose pages may be executed.</summary>
    public static int Create(string name, long bytes)
    {
        byte[] text = Encoding.UTF8.GetBytes(name + "\0");

        // SAFETY: the kernel reads a terminated string that is pinned for the calls.
        fixed (byte* p = text)
        {
            long fd = Libc.syscall(SYS_memfd_create, (nint)p, MFD_CLOEXEC | MFD_EXEC);
            if (fd == -1 && Marshal.GetLastPInvokeError() == EINVAL)
            {
                // Before 6.3 there was no such flag and every memfd could be executed.
                fd = Libc.syscall(SYS_memfd_create, (nint)p, MFD_CLOEXEC);
            }

            Libc.Check(fd, "memfd_create");
            Libc.Check(Libc.syscall(SYS_ftruncate, (nint)fd, (nint)bytes), "ftruncate");
            return (int)fd;
        }
    }

    /// <summary>open(2) with O_CLOEXEC; -1 and errno when it fails.</summary>
    public static int Open(string path, int flags)
    {
        byte[] text = Encoding.UTF8.GetBytes(path + "\0");

        // SAFETY: as above.
        fixed (byte* p = text)
        {
            return (int)Libc.syscall(SYS_openat, -100, (nint)p, flags | 0x80000);
        }
    }

    public static void Close(int descriptor)
    {
        if (descriptor >= 0)
        {
            _ = Libc.syscall(SYS_close, descriptor);
        }
    }

    /// <summary>pread; bytes read or -errno.</summary>
    public static int ReadAt(int descriptor, Span<byte> buffer, long offset)
    {
        // SAFETY: the kernel writes at most buffer.Length bytes to the pinned buffer.
        fixed (byte* p = buffer)
        {
            long n = Libc.syscall(SYS_pread64, descriptor, (nint)p, buffer.Length, (nint)offset);
            return n == -1 ? -Marshal.GetLastPInvokeError() : (int)n;
        }
    }

    /// <summary>pwrite; bytes written or -errno.</summary>
    public static int WriteAt(int descriptor, ReadOnlySpan<byte> buffer, long offset)
    {
        // SAFETY: the kernel reads at most buffer.Length bytes from the pinned buffer.
        fixed (byte* p = buffer)
        {
            long n = Libc.syscall(SYS_pwrite64, descriptor, (nint)p, buffer.Length, (nint)offset);
            return n == -1 ? -Marshal.GetLastPInvokeError() : (int)n;
        }
    }
}
