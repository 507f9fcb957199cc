using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Samepage.Linux.Interop;

/// <summary>fcntl.h and unistd.h: opening, positioned reads and writes.</summary>
internal static unsafe partial class Fcntl
{
    internal const int AT_FDCWD = -100;
    internal const int AT_EMPTY_PATH = 0x1000;
    internal const int O_RDONLY = 0;
    internal const int O_RDWR = 2;
    internal const int O_NONBLOCK = 0x800;
    internal const int O_DIRECTORY = 0x10000;
    internal const int O_NOFOLLOW = 0x20000;
    internal const int O_CLOEXEC = 0x80000;
    internal const int O_PATH = 0x200000;
    internal const int O_TMPFILE = 0x410000;
    internal const int SEEK_DATA = 3;
    internal const int SEEK_HOLE = 4;
    internal const int FALLOC_FL_KEEP_SIZE = 1;
    internal const int FALLOC_FL_PUNCH_HOLE = 2;

    /// <summary>Opens a file below a directory; the handle is invalid on failure (see
    /// <see cref="Errno.Last"/>).</summary>
    internal static SafeFileHandle OpenAt(SafeFileHandle? directory, string path, int flags, uint mode = 0)
    {
        bool added = false;
        try
        {
            directory?.DangerousAddRef(ref added);
            int at = directory is null ? AT_FDCWD : (int)directory.DangerousGetHandle();
            return new SafeFileHandle(openat(at, path, flags, mode), ownsHandle: true);
        }
        finally
        {
            if (added)
            {
                directory!.DangerousRelease();
            }
        }
    }

    /// <summary>pread; bytes read or -1. EINTR is retried.</summary>
    internal static nint Read(SafeFileHandle file, Span<byte> buffer, long offset)
    {
        // SAFETY: the span is pinned for the call and its own length bounds what the kernel writes.
        fixed (byte* p = buffer)
        {
            nint n;
            do
            {
                n = pread(file, p, (nuint)buffer.Length, offset);
            }
            while (n < 0 && Errno.Last == Errno.EINTR);

            return n;
        }
    }

    /// <summary>pwrite; bytes written or -1. EINTR is retried.</summary>
    internal static nint Write(SafeFileHandle file, ReadOnlySpan<byte> buffer, long offset)
    {
        // SAFETY: the span is pinned for the call and its own length bounds what the kernel reads.
        fixed (byte* p = buffer)
        {
            nint n;
            do
            {
                n = pwrite(file, p, (nuint)buffer.Length, offset);
            }
            while (n < 0 && Errno.Last == Errno.EINTR);

            return n;
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int fallocate(SafeFileHandle fd, int mode, long offset, long length);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int ftruncate(SafeFileHandle fd, long length);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial long lseek(SafeFileHandle fd, long offset, int whence);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int openat(int directory, string path, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint pread(SafeFileHandle fd, byte* buffer, nuint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint pwrite(SafeFileHandle fd, byte* buffer, nuint count, long offset);
}
