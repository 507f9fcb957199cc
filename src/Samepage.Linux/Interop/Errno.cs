using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>Error numbers of x86-64 (asm-generic/errno-base.h, errno.h).</summary>
internal static class Errno
{
    internal const int EPERM = 1;
    internal const int ENOENT = 2;
    internal const int ESRCH = 3;
    internal const int EINTR = 4;
    internal const int EIO = 5;
    internal const int ENXIO = 6;
    internal const int EAGAIN = 11;
    internal const int ENOMEM = 12;
    internal const int EACCES = 13;
    internal const int EFAULT = 14;
    internal const int EBUSY = 16;
    internal const int EBADF = 9;
    internal const int EEXIST = 17;
    internal const int ENODEV = 19;
    internal const int ENOTDIR = 20;
    internal const int EISDIR = 21;
    internal const int ENFILE = 23;
    internal const int ERANGE = 34;
    internal const int ENODATA = 61;
    internal const int EPROTO = 71;
    internal const int ENOTCONN = 107;
    internal const int ESTALE = 116;
    internal const int EINVAL = 22;
    internal const int ENOTTY = 25;
    internal const int ENOSPC = 28;
    internal const int ENOSYS = 38;
    internal const int EOPNOTSUPP = 95;

    /// <summary>Error number of the last call made with SetLastError.</summary>
    internal static int Last => Marshal.GetLastPInvokeError();

    /// <summary>The C library's words for an error number.</summary>
    internal static string Text(int errno) => Marshal.GetPInvokeErrorMessage(errno);
}
