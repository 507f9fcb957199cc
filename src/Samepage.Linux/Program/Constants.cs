namespace Samepage.Linux.Program;

/// <summary>System call numbers of x86-64 and the constants our machine code uses, spelled as the kernel spells them.</summary>
internal static class Abi
{
    internal const int SYS_lseek = 8, SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11, SYS_rt_sigaction = 13, SYS_rt_sigprocmask = 14;
    internal const int SYS_ioctl = 16, SYS_sched_yield = 24, SYS_mremap = 25, SYS_msync = 26, SYS_madvise = 28, SYS_nanosleep = 35;
    internal const int SYS_recvmsg = 47, SYS_socketpair = 53, SYS_close = 3, SYS_fcntl = 72, SYS_wait4 = 61;
    internal const int SYS_ptrace = 101, SYS_prctl = 157, SYS_futex = 202, SYS_getdents64 = 217, SYS_restart_syscall = 219;
    internal const int SYS_clock_gettime = 228, SYS_set_robust_list = 273, SYS_get_robust_list = 274;
    internal const int SYS_gettid = 186, SYS_kcmp = 312, KCMP_FILE = 0;

    internal const int PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4;
    internal const int MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
    internal const int MADV_RANDOM = 1, MADV_SEQUENTIAL = 2, MADV_DONTNEED = 4, MADV_DONTFORK = 10, MADV_DOFORK = 11, MADV_MERGEABLE = 12;
    internal const int MADV_HUGEPAGE = 14, MADV_NOHUGEPAGE = 15, MADV_DONTDUMP = 16;
    internal const int MADV_POPULATE_READ = 22, MADV_POPULATE_WRITE = 23;
    internal const int MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2, MS_ASYNC = 1;

    internal const long UFFDIO_REGISTER = 0xC020AA00, UFFDIO_UNREGISTER = 0x8010AA01, UFFDIO_WAKE = 0x8010AA02;
    internal const long UFFDIO_MOVE = 0xC028AA05, USERFAULTFD_IOC_NEW = 0xAA00;
    internal const int UFFDIO_REGISTER_MODE_MISSING = 1, UFFDIO_REGISTER_MODE_WP = 2, UFFDIO_REGISTER_MODE_MINOR = 4;
    internal const int UFFDIO_MOVE_MODE_DONTWAKE = 1;

    internal const uint FUTEX_WAITERS = 0x80000000, FUTEX_OWNER_DIED = 0x40000000;
    internal const int FUTEX_WAIT = 0, FUTEX_WAKE = 1;

    internal const int PTRACE_PEEKDATA = 2, PTRACE_POKEUSER = 6, PTRACE_CONT = 7, PTRACE_GETREGS = 12, PTRACE_SETREGS = 13;
    internal const int PTRACE_DETACH = 17, PTRACE_SEIZE = 0x4206, PTRACE_INTERRUPT = 0x4207;
    internal const int PTRACE_GETSIGMASK = 0x420A, PTRACE_SETSIGMASK = 0x420B, PTRACE_SECCOMP_GET_FILTER = 0x420C;
    internal const int PTRACE_GET_RSEQ_CONFIGURATION = 0x420F;
    internal const int PTRACE_EVENT_STOP = 128;

    internal const int WNOHANG = 1, __WALL = 0x40000000;
    internal const int EINTR = 4, ETIMEDOUT = 110, EAGAIN = 11, ENOMEM = 12, EFAULT = 14, EBUSY = 16, EEXIST = 17, EINVAL = 22, ENOENT = 2;
    internal const int ESRCH = 3, EPERM = 1, ECHILD = 10;
}
