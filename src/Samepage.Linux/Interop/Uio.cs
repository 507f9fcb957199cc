using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>sys/uio.h: reading another process's memory.</summary>
internal static unsafe partial class Uio
{
    internal const int IOV_MAX = 1024;

    [StructLayout(LayoutKind.Sequential)]
    internal struct iovec
    {
        internal nuint iov_base;
        internal nuint iov_len;
    }

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint process_vm_writev(
        int pid, iovec* local, nuint localCount, iovec* remote, nuint remoteCount, nuint flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint process_vm_readv(
        int pid, iovec* local, nuint localCount, iovec* remote, nuint remoteCount, nuint flags);
}
