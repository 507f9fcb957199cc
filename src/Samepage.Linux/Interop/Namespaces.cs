namespace Samepage.Linux.Interop;

/// <summary>sched.h, sys/mount.h and sys/stat.h: mount namespaces and moving mounts (Linux 5.2).</summary>
internal static class Namespaces
{
    internal const int SYS_mount = 165;
    internal const int SYS_mkdirat = 258;
    internal const int SYS_mknodat = 259;
    internal const int SYS_symlinkat = 266;
    internal const int SYS_fchmodat = 268;
    internal const int SYS_unshare = 272;
    internal const int SYS_open_tree = 428;
    internal const int SYS_move_mount = 429;
    internal const int CLONE_NEWNS = 0x20000;
    internal const int MS_REC = 0x4000;
    internal const int MS_SLAVE = 0x80000;
    internal const int OPEN_TREE_CLONE = 1;
    internal const int AT_RECURSIVE = 0x8000;
    internal const int MOVE_MOUNT_F_EMPTY_PATH = 4;
    internal const int S_IFREG = 0x8000;
    internal const int S_IFCHR = 0x2000;
}
