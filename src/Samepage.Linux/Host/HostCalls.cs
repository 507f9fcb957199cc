namespace Samepage.Linux.Host;

/// <summary>
/// System call numbers and constants of x86-64 Linux that the command line and the daemon's host need.
/// </summary>
internal static class HostCalls
{
    internal const long SYS_write = 1;
    internal const long SYS_close = 3;
    internal const long SYS_mmap = 9;
    internal const long SYS_munmap = 11;
    internal const long SYS_rt_sigaction = 13;
    internal const long SYS_rt_sigprocmask = 14;
    internal const long SYS_dup2 = 33;
    internal const long SYS_socket = 41;
    internal const long SYS_connect = 42;
    internal const long SYS_sendto = 44;
    internal const long SYS_recvfrom = 45;
    internal const long SYS_execve = 59;
    internal const long SYS_wait4 = 61;
    internal const long SYS_kill = 62;
    internal const long SYS_dup3 = 292;
    internal const long SYS_prlimit64 = 302;

    internal const int AF_UNIX = 1;
    internal const int SOCK_STREAM_CLOEXEC = 1 | 0x80000;
    internal const int MSG_NOSIGNAL = 0x4000;
    internal const int O_CLOEXEC = 0x80000;
    internal const int RLIMIT_NOFILE = 7;
    internal const int SIGINT = 2;
    internal const int SIGPIPE = 13;
    internal const int SIGTERM = 15;
    internal const int KernelSigactionBytes = 32; // handler, flags, restorer, mask: 8 bytes each
    internal const int PROT_READ_WRITE = 3;
    internal const int MAP_PRIVATE_ANONYMOUS = 0x22;

    // Error numbers that only connecting can give.
    internal const int ENAMETOOLONG = 36;
    internal const int ECONNREFUSED = 111;
}
