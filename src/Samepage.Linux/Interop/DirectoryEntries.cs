using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Samepage.Linux.Interop;

/// <summary>dirent.h by getdents64, and readlinkat: listing directories through a descriptor.</summary>
internal static unsafe partial class DirectoryEntries
{
    internal const long SYS_getdents64 = 217;
    internal const int PATH_MAX = 4096;
    private const int RecordLengthOffset = 16; // offsetof(struct linux_dirent64, d_reclen)
    private const int NameOffset = 19;         // offsetof(struct linux_dirent64, d_name)

    /// <summary>Appends every entry whose name is a number.</summary>
    /// <returns>False on an error in mid-list.</returns>
    internal static bool ReadNumbers(SafeFileHandle directory, List<int> numbers)
    {
        byte[] buffer = System.Buffers.ArrayPool<byte>.Shared.Rent(32 * 1024);
        try
        {
            while (true)
            {
                long n;
                // SAFETY: the array is pinned for the call and its length is what the kernel may write.
                fixed (byte* p = buffer)
                {
                    n = Libc.syscall(SYS_getdents64, directory.DangerousGetHandle(), (nint)p, buffer.Length);
                }

                if (n <= 0)
                {
                    return n == 0;
                }

                AppendNumbers(buffer.AsSpan(0, (int)n), numbers);
            }
        }
        finally
        {
            System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Where a link points; null when it cannot be read.</summary>
    internal static string? ReadLink(SafeFileHandle directory, string name)
    {
        byte* target = stackalloc byte[PATH_MAX];
        // SAFETY: the buffer has the length that is passed; the kernel adds no terminator, so the result bounds it.
        nint n = readlinkat((int)directory.DangerousGetHandle(), name, target, PATH_MAX);
        return n <= 0 ? null : System.Text.Encoding.UTF8.GetString(target, (int)n);
    }

    private static void AppendNumbers(ReadOnlySpan<byte> records, List<int> numbers)
    {
        while (records.Length > NameOffset)
        {
            int length = BitConverter.ToUInt16(records[RecordLengthOffset..]);
            if (length <= NameOffset || length > records.Length)
            {
                return;
            }

            ReadOnlySpan<byte> name = records[NameOffset..length];
            int end = name.IndexOf((byte)0);
            if (int.TryParse(name[..(end < 0 ? name.Length : end)], out int number))
            {
                numbers.Add(number);
            }

            records = records[length..];
        }
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint readlinkat(int directory, string path, byte* buffer, nuint length);
}
