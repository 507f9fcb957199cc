using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using static Samepage.Linux.Interop.Userfaultfd;

namespace Samepage.Linux.Interop;

/// <summary>
/// ioctl_userfaultfd(2) on a descriptor of another process: the kernel works on the address space the descriptor
/// was made in, whoever calls.
/// </summary>
internal static unsafe class UserfaultfdCalls
{
    private const int SYS_ioctl = 16;

    /// <summary>UFFDIO_API with the features wanted.</summary>
    /// <exception cref="KernelException">The kernel lacks a feature, or a permission is missing.</exception>
    public static void Handshake(SafeFileHandle userfaultfd, ulong features)
    {
        uffdio_api api = new() { api = UFFD_API, features = features };

        // SAFETY: the argument is a local of the kernel's layout.
        Libc.Check(
            Call(userfaultfd, UFFDIO_API, &api), "UFFDIO_API");
    }

    /// <summary>UFFDIO_REGISTER; 0 or the error number.</summary>
    public static int Register(SafeFileHandle userfaultfd, PageRange range, ulong mode)
    {
        uffdio_register argument = new()
        {
            range = new uffdio_range { start = range.StartAddress, len = range.Count << PageSize.Shift },
            mode = mode,
        };

        // SAFETY: as above.
        return Result(Call(userfaultfd, UFFDIO_REGISTER, &argument));
    }

    /// <summary>UFFDIO_UNREGISTER; 0 or the error number.</summary>
    public static int Unregister(SafeFileHandle userfaultfd, PageRange range)
    {
        uffdio_range argument = new() { start = range.StartAddress, len = range.Count << PageSize.Shift };

        // SAFETY: as above.
        return Result(Call(userfaultfd, UFFDIO_UNREGISTER, &argument));
    }

    private static long Call(SafeFileHandle userfaultfd, uint request, void* argument) =>
        Libc.syscall(SYS_ioctl, userfaultfd.DangerousGetHandle(), (nint)(ulong)request, (nint)argument);

    private static int Result(long result) => result == -1 ? Marshal.GetLastPInvokeError() : 0;
}
