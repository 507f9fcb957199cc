using Samepage.Linux.Host;
using Samepage.Linux.Proc;
using static Samepage.Linux.Program.Abi;

namespace Samepage.Linux.Tracing;

/// <summary>Refuses a target whose system call filters would kill or fail what our programs have to do in it.</summary>
internal static class SeccompGate
{
    private const int SeccompStrict = 1, SeccompFilter = 2;
    private const ulong F_DUPFD_CLOEXEC = 1030, MSG_CMSG_CLOEXEC = 0x40000000, SOCK_STREAM_CLOEXEC = 0x80001;

    /// <summary>What stands for an address or a descriptor: filters cannot know ours either.</summary>
    private const ulong Anywhere = 0x7f00_0000_0000, Descriptor = 900;

    private const ulong ReadWrite = PROT_READ | PROT_WRITE;

    /// <summary>Every call of the bootstrap, the merge program, the restore stub and the way out, with the arguments
    /// that filters look at: protections, flags, commands.</summary>
    internal static readonly SeccompCall[] Calls =
    [
        new("socketpair", SYS_socketpair, 1, SOCK_STREAM_CLOEXEC, 0, Anywhere),
        new("recvmsg", SYS_recvmsg, Descriptor, Anywhere, MSG_CMSG_CLOEXEC),
        new("close", SYS_close, Descriptor),
        new("fcntl(F_DUPFD_CLOEXEC)", SYS_fcntl, Descriptor, F_DUPFD_CLOEXEC, Descriptor),
        new("mmap(anonymous)", SYS_mmap, 0, 4096, ReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, ulong.MaxValue, 0),
        new("mmap(shared)", SYS_mmap, 0, 4096, ReadWrite, MAP_SHARED, Descriptor, 0),
        new("mmap(window)", SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, Descriptor, 0),
        new("mmap(store)", SYS_mmap, Anywhere, 4096, ReadWrite, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, Descriptor, 0),
        new("mmap(put back)", SYS_mmap, Anywhere, 4096, ReadWrite,
            MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | MAP_ANONYMOUS, ulong.MaxValue, 0),
        new("mmap(shadow)", SYS_mmap, 0, 4096, ReadWrite,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, ulong.MaxValue, 0),
        new("mprotect(executable)", SYS_mprotect, Anywhere, 4096, PROT_READ | PROT_EXEC),
        new("munmap", SYS_munmap, Anywhere, 4096),
        new("mremap", SYS_mremap, Anywhere, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, Anywhere),
        new("ioctl(USERFAULTFD_IOC_NEW)", SYS_ioctl, Descriptor, USERFAULTFD_IOC_NEW, 0x80800),
        new("ioctl(UFFDIO_REGISTER)", SYS_ioctl, Descriptor, UFFDIO_REGISTER, Anywhere),
        new("ioctl(UFFDIO_UNREGISTER)", SYS_ioctl, Descriptor, UFFDIO_UNREGISTER, Anywhere),
        new("ioctl(UFFDIO_MOVE)", SYS_ioctl, Descriptor, UFFDIO_MOVE, Anywhere),
        new("ioctl(UFFDIO_WAKE)", SYS_ioctl, Descriptor, UFFDIO_WAKE, Anywhere),
        new("madvise(MADV_DONTNEED)", SYS_madvise, Anywhere, 4096, MADV_DONTNEED),
        new("madvise(MADV_POPULATE_READ)", SYS_madvise, Anywhere, 4096, MADV_POPULATE_READ),
        new("madvise(MADV_POPULATE_WRITE)", SYS_madvise, Anywhere, 4096, MADV_POPULATE_WRITE),
        new("madvise(MADV_DONTFORK)", SYS_madvise, Anywhere, 4096, MADV_DONTFORK),
        new("madvise(MADV_DONTDUMP)", SYS_madvise, Anywhere, 4096, MADV_DONTDUMP),
        new("futex", SYS_futex, Anywhere, FUTEX_WAIT, 0, 0),
        new("sched_yield", SYS_sched_yield),
        new("rt_sigprocmask", SYS_rt_sigprocmask, 2, Anywhere, 0, 8),
        new("restart_syscall", SYS_restart_syscall),
    ];

    /// <summary>Judges all of <see cref="Calls"/> by the filters of one thread.</summary>
    /// <param name="proc">The target.</param>
    /// <param name="filters">The raw filters of its thread, as far as the kernel gave them.</param>
    /// <exception cref="TargetException">A filter would refuse a call, or it is not known what the filters
    /// do.</exception>
    public static void Check(ProcReader proc, List<byte[]> filters)
    {
        ProcBuffer buffer = new();
        List<int> threads = [];
        if (!proc.TryReadStatus(buffer, out ProcessStatus status) || !proc.TryReadThreads(threads))
        {
            throw ProcessIdentity.NoSuchProcess(proc.Pid);
        }

        if (status.SeccompMode == SeccompStrict)
        {
            throw Refused(proc, "is in strict seccomp mode: it may only read, write and exit");
        }

        // Any thread may be borrowed later, so all must be under the same filters. Their number has to do as a sign.
        foreach (int thread in threads)
        {
            if (proc.Read($"task/{thread}/status", buffer) == 0 &&
                ProcessStatus.TryParse(buffer.Text, out ProcessStatus other) &&
                (other.SeccompMode != status.SeccompMode || other.SeccompFilterCount != status.SeccompFilterCount))
            {
                throw Refused(proc, "has threads under different system call filters (seccomp)");
            }
        }

        bool allSeen = status.SeccompFilterCount < 0 || status.SeccompFilterCount == filters.Count;
        if (status.SeccompMode == SeccompFilter && (filters.Count == 0 || !allSeen))
        {
            throw Refused(proc, "has system call filters (seccomp) that cannot be read: run as root, on a kernel with "
                + "CONFIG_CHECKPOINT_RESTORE");
        }

        if (new SeccompFilters(filters).FirstRefused(Calls) is { } refused)
        {
            throw Refused(
                proc, $"has a system call filter (seccomp) under which {refused.Call.Name} {refused.Verdict}: " +
                "merging would need it");
        }
    }

    private static TargetException Refused(ProcReader proc, string why) =>
        new(TargetError.Refused, $"process {proc.Pid} {why}", proc.Pid);
}
