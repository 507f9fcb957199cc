namespace Samepage.Linux.Interop;

/// <summary>KSM's own system calls, and how to look at who makes them: sys/mman.h, linux/prctl.h, linux/kcmp.h,
/// linux/audit.h. PR_SET_MEMORY_MERGE came with Linux 6.4.</summary>
internal static class KsmCalls
{
    internal const int SYS_ioctl = 16;
    internal const int SYS_madvise = 28;
    internal const int SYS_prctl = 157;
    internal const int SYS_process_madvise = 440;
    internal const int SYS_stat = 4;
    internal const int SYS_pipe2 = 293;
    internal const int SYS_kcmp = 312;
    internal const int KCMP_VM = 1;
    internal const int MADV_MERGEABLE = 12;
    internal const int MADV_UNMERGEABLE = 13;
    internal const int PR_SET_NO_NEW_PRIVS = 38;
    internal const int PR_SET_MEMORY_MERGE = 67;
    internal const int PR_GET_MEMORY_MERGE = 68;
    internal const uint AUDIT_ARCH_I386 = 0x40000003;
    internal const short POLLERR = 8;
    internal const short POLLHUP = 16;
}
