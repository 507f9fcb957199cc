using System.Runtime.InteropServices;

namespace Samepage.Linux.Keeper;

/// <summary>struct epoll_event; packed on x86-64 only, which is the one architecture this assembly runs on.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct epoll_event
{
    internal uint events;
    internal ulong data;
}

/// <summary>struct pollfd (an all-lower-case type name is not allowed).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollDescriptor
{
    internal int fd;
    internal short events;
    internal short revents;
}

/// <summary>Which open file a descriptor stands for, whatever its number: two descriptors with the same identity are
/// the same userfaultfd (each has an inode of its own) or the same store file.</summary>
internal readonly record struct FileIdentity(ulong Device, ulong Inode);

/// <summary>
/// The C library as the keeper uses it. Sockets are bound by hand because System.Net.Sockets would more than double
/// the keeper's memory and start threads of its own.
/// </summary>
internal static unsafe partial class KeeperNative
{
    internal const int EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EAGAIN = 11, ENOMEM = 12, EEXIST = 17,
        EINVAL = 22, ENFILE = 23, EMFILE = 24, EADDRINUSE = 98, ECONNREFUSED = 111;
    internal const int O_RDWR = 2, O_CREAT = 0x40, O_APPEND = 0x400, O_NONBLOCK = 0x800, O_CLOEXEC = 0x80000;
    internal const int F_GETFL = 3, F_SETFL = 4, F_DUPFD_CLOEXEC = 1030;
    internal const int EPOLL_CLOEXEC = 0x80000, EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3;
    internal const uint EPOLLIN = 1, EPOLLOUT = 4, EPOLLERR = 8, EPOLLHUP = 16;
    internal const short POLLIN = 1;
    internal const int AF_UNIX = 1, SOCK_STREAM = 1, SOCK_NONBLOCK = 0x800, SOCK_CLOEXEC = 0x80000;
    internal const int SOL_SOCKET = 1, SO_PEERCRED = 17, SO_RCVTIMEO = 20, SO_SNDTIMEO = 21, MSG_NOSIGNAL = 0x4000;
    internal const int LOCK_EX = 2, WNOHANG = 1, SIGKILL = 9, SIGCONT = 18;
    internal const int PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20;
    internal const int RLIMIT_NOFILE = 7, PRIO_PROCESS = 0;
    private const long SYS_pidfd_send_signal = 424, SYS_pidfd_open = 434, SYS_pidfd_getfd = 438, SYS_prlimit64 = 302;

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint read(int fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint write(int fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint pread(int fd, void* buffer, nuint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int close(int fd);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int ioctl(int fd, nuint request, void* argument);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int epoll_create1(int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int epoll_ctl(int epoll, int operation, int fd, epoll_event* @event);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int epoll_wait(int epoll, epoll_event* events, int count, int timeout);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int poll(PollDescriptor* descriptors, nuint count, int timeout);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int eventfd(uint value, int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int socket(int family, int type, int protocol);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int bind(int fd, byte* address, uint length);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int listen(int fd, int backlog);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int accept4(int fd, byte* address, uint* length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int connect(int fd, byte* address, uint length);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint send(int fd, void* buffer, nuint count, int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint recv(int fd, void* buffer, nuint count, int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int getsockopt(int fd, int level, int name, void* value, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int setsockopt(int fd, int level, int name, void* value, uint length);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int fstat(int fd, void* status);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int stat(byte* path, void* status);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint readlink(byte* path, byte* buffer, nuint size);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int memfd_create(byte* name, uint flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int open(byte* path, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int flock(int fd, int operation);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int ftruncate(int fd, long length);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int unlink(byte* path);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int chmod(byte* path, uint mode);

    [LibraryImport("libc")]
    internal static partial uint geteuid();

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int getpriority(int which, int who);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int setpriority(int which, int who, int nice);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int kill(int pid, int signal);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int waitpid(int pid, int* status, int options);

    [LibraryImport("libc")]
    internal static partial nint pthread_self();

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint mmap(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int mprotect(nint address, nuint length, int protection);

    // posix_spawn reports its error by return value. Its objects are opaque; 512 bytes hold those of glibc and musl.
    [LibraryImport("libc")]
    internal static partial int posix_spawn(
        int* pid, byte* path, void* actions, void* attributes, byte** argv, byte** envp);

    [LibraryImport("libc")]
    internal static partial int posix_spawn_file_actions_init(void* actions);

    [LibraryImport("libc")]
    internal static partial int posix_spawn_file_actions_destroy(void* actions);

    [LibraryImport("libc")]
    internal static partial int posix_spawn_file_actions_addopen(
        void* actions, int fd, byte* path, int flags, uint mode);

    [LibraryImport("libc")]
    internal static partial int posix_spawn_file_actions_addclosefrom_np(void* actions, int from);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_init(void* attributes);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_destroy(void* attributes);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_setflags(void* attributes, short flags);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_setsigmask(void* attributes, void* set);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_setsigdefault(void* attributes, void* set);

    internal static int LastErrno => Marshal.GetLastPInvokeError();

    /// <summary>A descriptor for a process; becomes readable when it dies. -errno on failure.</summary>
    internal static int PidfdOpen(int pid) => (int)OrErrno(Interop.Libc.syscall(SYS_pidfd_open, pid));

    /// <summary>Duplicates a descriptor of another process into ours (Linux 5.6). -errno on failure.</summary>
    internal static int PidfdGetfd(int pidfd, int fd) => (int)OrErrno(Interop.Libc.syscall(SYS_pidfd_getfd, pidfd, fd));

    /// <summary>kill() that cannot hit a process which took over the number. 0 or -errno.</summary>
    internal static int PidfdSendSignal(int pidfd, int signal) =>
        (int)OrErrno(Interop.Libc.syscall(SYS_pidfd_send_signal, pidfd, signal));

    /// <summary>Raises this process's own limit of open descriptors as far as it is allowed.</summary>
    internal static void RaiseDescriptorLimit(ulong wanted)
    {
        ulong* limit = stackalloc ulong[] { wanted, wanted };
        // SAFETY: struct rlimit64 is two 64-bit words; the kernel only reads them.
        _ = Interop.Libc.syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, (nint)limit);
    }

    internal static long OrErrno(long result) => result == -1 ? -LastErrno : result;
}
