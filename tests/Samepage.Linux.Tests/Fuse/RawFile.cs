using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>
/// A file by its system calls alone, each of which gives a text: what it returned, or the error number. .NET's own
/// streams ask the file system more than was asked of them.
/// </summary>
internal sealed class RawFile : IDisposable
{
    public const int ReadOnly = 0;
    public const int WriteOnly = 1;
    public const int ReadWrite = 2;
    public const int Create = 0x40;
    public const int Exclusive = 0x80;
    public const int Truncate = 0x200;
    public const int Append = 0x400;
    public const int Direct = 0x4000;

    private const long SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_close = 3, SYS_lseek = 8, SYS_pread64 = 17,
        SYS_pwrite64 = 18, SYS_access = 21, SYS_truncate = 76, SYS_ftruncate = 77;

    private readonly long descriptor;

    private RawFile(long descriptor) => this.descriptor = descriptor;

    /// <summary>Opens; null and an error number on failure.</summary>
    public static RawFile? Open(string path, int flags, out int errno)
    {
        long opened = Path(SYS_open, path, flags | 0x80000, 0x1A4);
        errno = opened < 0 ? Errno.Last : 0;
        return opened < 0 ? null : new RawFile(opened);
    }

    /// <summary>Opens a file that has to be there.</summary>
    public static RawFile Open(string path, int flags) =>
        Open(path, flags, out int errno) ?? throw new IOException($"{path}: errno {errno}");

    /// <summary>All of a file, without the newline.</summary>
    public static string Text(string path)
    {
        using RawFile file = Open(path, ReadOnly);
        var text = new StringBuilder();
        for (byte[] piece = file.Bytes(100); piece.Length > 0; piece = file.Bytes(100))
        {
            text.Append(Encoding.Latin1.GetString(piece));
        }

        Assert.EndsWith("\n", text.ToString(), StringComparison.Ordinal);
        return text.ToString(0, text.Length - 1);
    }

    /// <summary>One open, write and close.</summary>
    /// <returns>What write(2) returned, or minus the error number.</returns>
    public static long Put(string path, string text, int flags = WriteOnly)
    {
        using RawFile? file = Open(path, flags, out int errno);
        return file is null ? -errno : file.Write(Encoding.Latin1.GetBytes(text));
    }

    public static string Access(string path, int mode) => Result(Path(SYS_access, path, mode, 0));

    public static string TruncateTo(string path, long size) => Result(Path(SYS_truncate, path, (nint)size, 0));

    public string Read(int count) => Read(SYS_read, count, 0);

    public string ReadAt(int count, long offset) => Read(SYS_pread64, count, offset);

    /// <summary>Bytes or minus the error number.</summary>
    public long Write(byte[] data) => Write(SYS_write, data, 0);

    public string Wrote(byte[] data) => Number(Write(SYS_write, data, 0));

    public string WroteAt(byte[] data, long offset) => Number(Write(SYS_pwrite64, data, offset));

    public string Seek(long offset, int whence) =>
        Result(Libc.syscall(SYS_lseek, (nint)descriptor, (nint)offset, whence));

    public string SetSize(long size) => Result(Libc.syscall(SYS_ftruncate, (nint)descriptor, (nint)size));

    public void Dispose() => _ = Libc.syscall(SYS_close, (nint)descriptor);

    private byte[] Bytes(int count)
    {
        var buffer = new byte[count];
        long read = Pinned(buffer, address => Libc.syscall(SYS_read, (nint)descriptor, address, count));
        return read < 0 ? throw new IOException($"read: errno {-read}") : buffer[..(int)read];
    }

    private string Read(long call, int count, long offset)
    {
        var buffer = new byte[Math.Max(count, 1)];
        long read = Pinned(buffer, at => Libc.syscall(call, (nint)descriptor, at, count, (nint)offset));
        return read < 0 ? Number(read) : "\"" + Encoding.Latin1.GetString(buffer, 0, (int)read) + "\"";
    }

    private long Write(long call, byte[] data, long offset) =>
        Pinned(data, at => Libc.syscall(call, (nint)descriptor, at, data.Length, (nint)offset));

    private static long Pinned(byte[] buffer, Func<nint, long> call)
    {
        GCHandle handle = GCHandle.Alloc(buffer, GCHandleType.Pinned);
        try
        {
            long result = call(handle.AddrOfPinnedObject());
            return result < 0 ? -Errno.Last : result;
        }
        finally
        {
            handle.Free();
        }
    }

    private static long Path(long call, string path, nint first, nint second)
    {
        nint text = Marshal.StringToCoTaskMemUTF8(path);
        try
        {
            return Libc.syscall(call, text, first, second);
        }
        finally
        {
            Marshal.FreeCoTaskMem(text);
        }
    }

    private static string Result(long result) => Number(result < 0 ? -Errno.Last : result);

    private static string Number(long result) =>
        result < 0 ? $"errno {-result}" : result.ToString(CultureInfo.InvariantCulture);
}
