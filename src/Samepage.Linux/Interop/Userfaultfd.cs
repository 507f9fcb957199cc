using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

// linux/userfaultfd.h in the kernel's own spelling: all 64-bit fields, so the layout is the same on every architecture.

/// <summary>Argument of <see cref="Userfaultfd.UFFDIO_API"/>: the handshake that every userfaultfd needs
/// once.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_api
{
    internal ulong api;
    internal ulong features;
    internal ulong ioctls;
}

/// <summary>A span of bytes, page aligned; argument of WAKE and UNREGISTER.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_range
{
    internal ulong start;
    internal ulong len;
}

/// <summary>Argument of <see cref="Userfaultfd.UFFDIO_REGISTER"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_register
{
    internal uffdio_range range;
    internal ulong mode;
    internal ulong ioctls;
}

/// <summary>Argument of <see cref="Userfaultfd.UFFDIO_COPY"/>; <c>copy</c> comes back as bytes done or
/// -errno.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_copy
{
    internal ulong dst;
    internal ulong src;
    internal ulong len;
    internal ulong mode;
    internal long copy;
}

/// <summary>Argument of <see cref="Userfaultfd.UFFDIO_ZEROPAGE"/>; <c>zeropage</c> comes back as bytes done or
/// -errno.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_zeropage
{
    internal uffdio_range range;
    internal ulong mode;
    internal long zeropage;
}

/// <summary>Argument of <see cref="Userfaultfd.UFFDIO_WRITEPROTECT"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_writeprotect
{
    internal uffdio_range range;
    internal ulong mode;
}

/// <summary>Argument of <see cref="Userfaultfd.UFFDIO_CONTINUE"/>; <c>mapped</c> comes back as bytes done or
/// -errno.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_continue
{
    internal uffdio_range range;
    internal ulong mode;
    internal long mapped;
}

/// <summary>Argument of <see cref="Userfaultfd.UFFDIO_MOVE"/>; <c>move</c> comes back as bytes done or
/// -errno.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct uffdio_move
{
    internal ulong dst;
    internal ulong src;
    internal ulong len;
    internal ulong mode;
    internal long move;
}

/// <summary>What read() of a userfaultfd returns, one or several at a time. Which fields mean something depends on
/// the event.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct uffd_msg
{
    [FieldOffset(0)] internal byte @event;

    /// <summary>PAGEFAULT: UFFD_PAGEFAULT_FLAG_*.</summary>
    [FieldOffset(8)] internal ulong pagefault_flags;

    /// <summary>PAGEFAULT: address, rounded down to the page unless UFFD_FEATURE_EXACT_ADDRESS is on.</summary>
    [FieldOffset(16)] internal ulong pagefault_address;

    /// <summary>FORK: the child's userfaultfd, already installed in the descriptor table of whoever read
    /// this.</summary>
    [FieldOffset(8)] internal uint fork_ufd;

    /// <summary>REMAP: old start.</summary>
    [FieldOffset(8)] internal ulong remap_from;

    /// <summary>REMAP: new start.</summary>
    [FieldOffset(16)] internal ulong remap_to;

    /// <summary>REMAP: length in bytes.</summary>
    [FieldOffset(24)] internal ulong remap_len;

    /// <summary>REMOVE, UNMAP: start.</summary>
    [FieldOffset(8)] internal ulong remove_start;

    /// <summary>REMOVE, UNMAP: end.</summary>
    [FieldOffset(16)] internal ulong remove_end;
}

/// <summary>Constants of userfaultfd(2), ioctl_userfaultfd(2).</summary>
internal static class Userfaultfd
{
    internal const ulong UFFD_API = 0xAA;

    internal const uint UFFDIO_API = 0xC018AA3F;
    internal const uint UFFDIO_REGISTER = 0xC020AA00;
    internal const uint UFFDIO_UNREGISTER = 0x8010AA01;
    internal const uint UFFDIO_WAKE = 0x8010AA02;
    internal const uint UFFDIO_COPY = 0xC028AA03;
    internal const uint UFFDIO_ZEROPAGE = 0xC020AA04;
    internal const uint UFFDIO_MOVE = 0xC028AA05;
    internal const uint UFFDIO_WRITEPROTECT = 0xC018AA06;
    internal const uint UFFDIO_CONTINUE = 0xC020AA07;

    /// <summary>ioctl on an open /dev/userfaultfd: a new userfaultfd without asking
    /// vm.unprivileged_userfaultfd.</summary>
    internal const uint USERFAULTFD_IOC_NEW = 0xAA00;

    internal const byte UFFD_EVENT_PAGEFAULT = 0x12;
    internal const byte UFFD_EVENT_FORK = 0x13;
    internal const byte UFFD_EVENT_REMAP = 0x14;
    internal const byte UFFD_EVENT_REMOVE = 0x15;
    internal const byte UFFD_EVENT_UNMAP = 0x16;

    internal const ulong UFFD_PAGEFAULT_FLAG_WRITE = 1 << 0;
    internal const ulong UFFD_PAGEFAULT_FLAG_WP = 1 << 1;
    internal const ulong UFFD_PAGEFAULT_FLAG_MINOR = 1 << 2;

    internal const ulong UFFD_FEATURE_PAGEFAULT_FLAG_WP = 1 << 0;
    internal const ulong UFFD_FEATURE_EVENT_FORK = 1 << 1;
    internal const ulong UFFD_FEATURE_EVENT_REMAP = 1 << 2;
    internal const ulong UFFD_FEATURE_EVENT_REMOVE = 1 << 3;
    internal const ulong UFFD_FEATURE_MISSING_SHMEM = 1 << 5;
    internal const ulong UFFD_FEATURE_EVENT_UNMAP = 1 << 6;
    internal const ulong UFFD_FEATURE_SIGBUS = 1 << 7;
    internal const ulong UFFD_FEATURE_THREAD_ID = 1 << 8;
    internal const ulong UFFD_FEATURE_MINOR_SHMEM = 1 << 10;
    internal const ulong UFFD_FEATURE_EXACT_ADDRESS = 1 << 11;
    internal const ulong UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12;
    internal const ulong UFFD_FEATURE_WP_UNPOPULATED = 1 << 13;
    internal const ulong UFFD_FEATURE_POISON = 1 << 14;
    internal const ulong UFFD_FEATURE_WP_ASYNC = 1 << 15;
    internal const ulong UFFD_FEATURE_MOVE = 1 << 16;

    internal const ulong UFFDIO_REGISTER_MODE_MISSING = 1 << 0;
    internal const ulong UFFDIO_REGISTER_MODE_WP = 1 << 1;
    internal const ulong UFFDIO_REGISTER_MODE_MINOR = 1 << 2;

    internal const ulong UFFDIO_COPY_MODE_DONTWAKE = 1 << 0;
    internal const ulong UFFDIO_COPY_MODE_WP = 1 << 1;
    internal const ulong UFFDIO_ZEROPAGE_MODE_DONTWAKE = 1 << 0;
    internal const ulong UFFDIO_WRITEPROTECT_MODE_WP = 1 << 0;
    internal const ulong UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 1 << 1;
    internal const ulong UFFDIO_CONTINUE_MODE_DONTWAKE = 1 << 0;
    internal const ulong UFFDIO_MOVE_MODE_DONTWAKE = 1 << 0;
    internal const ulong UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES = 1 << 1;

    /// <summary>Flag of userfaultfd(2): only faults of user mode. Never what we want; here so that nobody types a
    /// 1.</summary>
    internal const int UFFD_USER_MODE_ONLY = 1;
}
