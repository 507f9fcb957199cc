using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>linux/fuse.h: what goes over /dev/fuse, as far as small text files need it; and mount(2).</summary>
internal static class Fuse
{
    internal const long SYS_mount = 165;
    internal const long SYS_umount2 = 166;
    internal const uint MS_NOSUID = 2;
    internal const uint MS_NODEV = 4;
    internal const uint MS_NOEXEC = 8;
    internal const uint MS_RELATIME = 1 << 21;
    internal const int MNT_DETACH = 2;
    internal const int UMOUNT_NOFOLLOW = 8;

    internal const uint FUSE_KERNEL_VERSION = 7;
    internal const ulong FUSE_ROOT_ID = 1;
    internal const int FUSE_MIN_READ_BUFFER = 8192;

    internal const uint FUSE_ATOMIC_O_TRUNC = 1 << 3;
    internal const uint FUSE_BIG_WRITES = 1 << 5;
    internal const uint FUSE_PARALLEL_DIROPS = 1 << 18;
    internal const uint FUSE_INIT_EXT = 1 << 30;
    internal const ulong FUSE_HAS_RESEND = 1UL << 39;

    internal const uint FOPEN_DIRECT_IO = 1;
    internal const uint FOPEN_NOFLUSH = 1 << 5;

    internal const uint FATTR_MODE = 1;
    internal const uint FATTR_UID = 2;
    internal const uint FATTR_GID = 4;

    internal const int FUSE_NOTIFY_RESEND = 7;

    internal const uint FUSE_LOOKUP = 1;
    internal const uint FUSE_FORGET = 2;
    internal const uint FUSE_GETATTR = 3;
    internal const uint FUSE_SETATTR = 4;
    internal const uint FUSE_READLINK = 5;
    internal const uint FUSE_SYMLINK = 6;
    internal const uint FUSE_MKNOD = 8;
    internal const uint FUSE_MKDIR = 9;
    internal const uint FUSE_UNLINK = 10;
    internal const uint FUSE_RMDIR = 11;
    internal const uint FUSE_RENAME = 12;
    internal const uint FUSE_LINK = 13;
    internal const uint FUSE_OPEN = 14;
    internal const uint FUSE_READ = 15;
    internal const uint FUSE_WRITE = 16;
    internal const uint FUSE_STATFS = 17;
    internal const uint FUSE_RELEASE = 18;
    internal const uint FUSE_SETXATTR = 21;
    internal const uint FUSE_GETXATTR = 22;
    internal const uint FUSE_LISTXATTR = 23;
    internal const uint FUSE_REMOVEXATTR = 24;
    internal const uint FUSE_INIT = 26;
    internal const uint FUSE_OPENDIR = 27;
    internal const uint FUSE_READDIR = 28;
    internal const uint FUSE_RELEASEDIR = 29;
    internal const uint FUSE_CREATE = 35;
    internal const uint FUSE_INTERRUPT = 36;
    internal const uint FUSE_DESTROY = 38;
    internal const uint FUSE_IOCTL = 39;
    internal const uint FUSE_BATCH_FORGET = 42;
    internal const uint FUSE_RENAME2 = 45;

    [StructLayout(LayoutKind.Explicit, Size = 40)]
    internal struct fuse_in_header
    {
        [FieldOffset(0)] internal uint len;
        [FieldOffset(4)] internal uint opcode;
        [FieldOffset(8)] internal ulong unique;
        [FieldOffset(16)] internal ulong nodeid;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct fuse_out_header
    {
        internal uint len;
        internal int error;
        internal ulong unique;
    }

    [StructLayout(LayoutKind.Explicit, Size = 64)]
    internal struct fuse_init_in
    {
        [FieldOffset(0)] internal uint major;
        [FieldOffset(4)] internal uint minor;
        [FieldOffset(8)] internal uint max_readahead;
        [FieldOffset(12)] internal uint flags;
        [FieldOffset(16)] internal uint flags2;
    }

    [StructLayout(LayoutKind.Explicit, Size = 64)]
    internal struct fuse_init_out
    {
        [FieldOffset(0)] internal uint major;
        [FieldOffset(4)] internal uint minor;
        [FieldOffset(8)] internal uint max_readahead;
        [FieldOffset(12)] internal uint flags;
        [FieldOffset(16)] internal ushort max_background;
        [FieldOffset(18)] internal ushort congestion_threshold;
        [FieldOffset(20)] internal uint max_write;
        [FieldOffset(24)] internal uint time_gran;
        [FieldOffset(32)] internal uint flags2;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct fuse_attr
    {
        internal ulong ino;
        internal ulong size;
        internal ulong blocks;
        internal ulong atime;
        internal ulong mtime;
        internal ulong ctime;
        internal uint atimensec;
        internal uint mtimensec;
        internal uint ctimensec;
        internal uint mode;
        internal uint nlink;
        internal uint uid;
        internal uint gid;
        internal uint rdev;
        internal uint blksize;
        internal uint flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct fuse_entry_out
    {
        internal ulong nodeid;
        internal ulong generation;
        internal ulong entry_valid;
        internal ulong attr_valid;
        internal uint entry_valid_nsec;
        internal uint attr_valid_nsec;
        internal fuse_attr attr;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct fuse_attr_out
    {
        internal ulong attr_valid;
        internal uint attr_valid_nsec;
        internal uint dummy;
        internal fuse_attr attr;
    }

    [StructLayout(LayoutKind.Explicit, Size = 88)]
    internal struct fuse_setattr_in
    {
        [FieldOffset(0)] internal uint valid;
        [FieldOffset(68)] internal uint mode;
        [FieldOffset(76)] internal uint uid;
        [FieldOffset(80)] internal uint gid;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct fuse_open_in
    {
        internal uint flags;
        internal uint open_flags;
    }

    [StructLayout(LayoutKind.Explicit, Size = 16)]
    internal struct fuse_open_out
    {
        [FieldOffset(0)] internal ulong fh;
        [FieldOffset(8)] internal uint open_flags;
    }

    [StructLayout(LayoutKind.Explicit, Size = 40)]
    internal struct fuse_read_in
    {
        [FieldOffset(0)] internal ulong fh;
        [FieldOffset(8)] internal ulong offset;
        [FieldOffset(16)] internal uint size;
    }

    [StructLayout(LayoutKind.Explicit, Size = 40)]
    internal struct fuse_write_in
    {
        [FieldOffset(0)] internal ulong fh;
        [FieldOffset(8)] internal ulong offset;
        [FieldOffset(16)] internal uint size;
    }

    [StructLayout(LayoutKind.Explicit, Size = 8)]
    internal struct fuse_write_out
    {
        [FieldOffset(0)] internal uint size;
    }

    [StructLayout(LayoutKind.Explicit, Size = 24)]
    internal struct fuse_release_in
    {
        [FieldOffset(0)] internal ulong fh;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct fuse_interrupt_in
    {
        internal ulong unique;
    }

    [StructLayout(LayoutKind.Explicit, Size = 8)]
    internal struct fuse_getxattr_in
    {
        [FieldOffset(0)] internal uint size;
    }

    [StructLayout(LayoutKind.Explicit, Size = 8)]
    internal struct fuse_getxattr_out
    {
        [FieldOffset(0)] internal uint size;
    }

    [StructLayout(LayoutKind.Explicit, Size = 80)]
    internal struct fuse_kstatfs
    {
        [FieldOffset(40)] internal uint bsize;
        [FieldOffset(44)] internal uint namelen;
        [FieldOffset(48)] internal uint frsize;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct fuse_dirent
    {
        internal ulong ino;
        internal ulong off;
        internal uint namelen;
        internal uint type;
    }
}
