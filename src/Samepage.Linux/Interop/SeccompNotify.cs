using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>linux/seccomp.h: filters that hand system calls to a supervisor (Linux 5.0; descriptors 5.14, waiting
/// without signals 5.19, waking on the same CPU 6.6).</summary>
internal static unsafe class SeccompNotify
{
    internal const long SYS_seccomp = 317;
    internal const int SECCOMP_SET_MODE_FILTER = 1;
    internal const int SECCOMP_FILTER_FLAG_NEW_LISTENER = 8;
    internal const int SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32;
    internal const ulong SECCOMP_IOCTL_NOTIF_RECV = 0xc0502100;
    internal const ulong SECCOMP_IOCTL_NOTIF_SEND = 0xc0182101;
    internal const ulong SECCOMP_IOCTL_NOTIF_ID_VALID = 0x40082102;
    internal const ulong SECCOMP_IOCTL_NOTIF_ADDFD = 0x40182103;
    internal const ulong SECCOMP_IOCTL_NOTIF_SET_FLAGS = 0x40082104;
    internal const uint SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1;
    internal const ulong SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1;
    internal const uint SECCOMP_ADDFD_FLAG_SEND = 2;

    [StructLayout(LayoutKind.Sequential)]
    internal struct seccomp_data
    {
        internal int nr;
        internal uint arch;
        internal ulong instruction_pointer;
        internal fixed ulong args[6];
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct seccomp_notif
    {
        internal ulong id;
        internal uint pid;
        internal uint flags;
        internal seccomp_data data;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct seccomp_notif_resp
    {
        internal ulong id;
        internal long val;
        internal int error;
        internal uint flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct seccomp_notif_addfd
    {
        internal ulong id;
        internal uint flags;
        internal uint srcfd;
        internal uint newfd;
        internal uint newfd_flags;
    }
}
