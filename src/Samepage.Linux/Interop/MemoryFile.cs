using System.Runtime.InteropServices;
using System.Text;

namespace Samepage.Linux.Interop;

/// <summary>memfd_create(2).</summary>
internal static unsafe class MemoryFile
{
    private const int SYS_memfd_create = 319, SYS_ftruncate = 77, MFD_CLOEXEC = 1, MFD_EXEC = 0x10, EINVAL = 22;

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
}
