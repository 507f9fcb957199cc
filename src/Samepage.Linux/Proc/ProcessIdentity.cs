using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Proc;

/// <summary>
/// A process held so that its number cannot come to mean another one: a pidfd, the start time, and the directory
/// and address space in /proc that belong to it.
/// </summary>
internal sealed class ProcessIdentity : IDisposable
{
    private readonly SafeFileHandle _memory;

    private ProcessIdentity(
        int pid, SafeFileHandle descriptor, ProcReader proc, SafeFileHandle memory, ulong startTicks)
    {
        Pid = pid;
        Descriptor = descriptor;
        Proc = proc;
        _memory = memory;
        StartTicks = startTicks;
    }

    /// <summary>Process id.</summary>
    internal int Pid { get; }

    /// <summary>The pidfd.</summary>
    internal SafeFileHandle Descriptor { get; }

    /// <summary>The process's directory in /proc.</summary>
    internal ProcReader Proc { get; }

    /// <summary>Start time in clock ticks since boot.</summary>
    internal ulong StartTicks { get; }

    /// <summary>Real user id when it was opened.</summary>
    internal uint RealUid { get; private init; }

    /// <summary>Short name when it was opened.</summary>
    internal string Name { get; private init; } = "";

    /// <summary>True until the process has exited; a zombie has.</summary>
    internal bool IsRunning => !Pidfd.HasExited(Descriptor);

    /// <summary>
    /// True while the process still has the address space it had when it was opened: not exited and no other
    /// program executed since. The open mem file belongs to that address space and reads as empty after its end.
    /// </summary>
    internal bool HasSameMemory
    {
        get
        {
            Span<byte> one = stackalloc byte[1];
            return Fcntl.Read(_memory, one, 0) != 0;
        }
    }

    /// <summary>Opens a process that can be worked on: running, 64-bit, not a kernel thread, ours to look at.</summary>
    /// <exception cref="TargetException">It cannot; the message says why.</exception>
    internal static ProcessIdentity Open(int pid)
    {
        if (pid <= 0)
        {
            throw new TargetException(TargetError.Usage, $"{pid} is not a process id: give a positive number", pid);
        }

        SafeFileHandle descriptor = Pidfd.Open(pid);
        if (descriptor.IsInvalid)
        {
            int errno = Errno.Last;
            descriptor.Dispose();
            throw OpenFailure(pid, errno);
        }

        ProcReader? proc = null;
        SafeFileHandle? memory = null;
        try
        {
            proc = ProcReader.TryOpen(pid) ?? throw NoSuchProcess(pid);
            ProcBuffer buffer = new();
            if (!proc.TryReadStatus(buffer, out ProcessStatus status) ||
                !proc.TryReadStat(buffer, out ProcessStat stat))
            {
                throw NoSuchProcess(pid);
            }

            Check(pid, status, proc, buffer);
            memory = OpenMemory(pid, proc);
            // The directory was opened by number after the pidfd; if the pidfd's process still lives, both are one.
            if (Pidfd.HasExited(descriptor))
            {
                throw NoSuchProcess(pid);
            }

            return new ProcessIdentity(pid, descriptor, proc, memory, stat.StartTicks)
            {
                RealUid = status.RealUid,
                Name = proc.ReadName(buffer),
            };
        }
        catch
        {
            memory?.Dispose();
            proc?.Dispose();
            descriptor.Dispose();
            throw;
        }
    }

    /// <summary>Duplicates one of the process's descriptors (pidfd_getfd).</summary>
    /// <exception cref="TargetException">No such descriptor, not permitted, or the process is gone.</exception>
    internal SafeFileHandle TakeDescriptor(int number)
    {
        SafeFileHandle taken = Pidfd.GetDescriptor(Descriptor, number);
        if (!taken.IsInvalid)
        {
            return taken;
        }

        int errno = Errno.Last;
        taken.Dispose();
        throw errno switch
        {
            Errno.ESRCH => NoSuchProcess(Pid),
            Errno.EPERM => NotPermitted(Pid, errno),
            _ => new TargetException(
                TargetError.Refused,
                $"process {Pid}: descriptor {number} cannot be taken over: {Errno.Text(errno)}", Pid, errno),
        };
    }

    public void Dispose()
    {
        _memory.Dispose();
        Proc.Dispose();
        Descriptor.Dispose();
    }

    internal static TargetException NoSuchProcess(int pid) =>
        new(TargetError.NoSuchProcess, $"there is no process {pid}: it may have exited", pid, Errno.ESRCH);

    internal static TargetException NotPermitted(int pid, int errno) => new(
        TargetError.NotPermitted,
        $"not permitted to look into process {pid}: run as root, or with CAP_SYS_PTRACE and CAP_SYS_ADMIN", pid, errno);

    private static TargetException OpenFailure(int pid, int errno)
    {
        if (errno == Errno.EPERM)
        {
            return NotPermitted(pid, errno);
        }

        // EINVAL before Linux 6.9's wording, ENOENT since: the number is a thread's, not a process's.
        using ProcReader? proc = errno == Errno.ESRCH ? null : ProcReader.TryOpen(pid);
        return proc is not null && proc.TryReadStatus(new ProcBuffer(), out ProcessStatus status) && status.Tgid != pid
            ? new TargetException(
                TargetError.NoSuchProcess,
                $"{pid} is a thread of process {status.Tgid}: give the process id", pid, errno)
            : errno == Errno.ENOSYS
                ? new TargetException(
                    TargetError.HostNotSupported, "the kernel has no pidfd_open: Linux 6.8 or later is needed",
                        pid, errno)
                : NoSuchProcess(pid);
    }

    private static void Check(int pid, in ProcessStatus status, ProcReader proc, ProcBuffer buffer)
    {
        if (status.IsKernelThread)
        {
            throw new TargetException(
                TargetError.Refused, $"process {pid} is a kernel thread: it has no memory of its own to merge", pid);
        }

        if (status.State is 'Z' or 'X')
        {
            throw new TargetException(
                TargetError.NoSuchProcess, $"process {pid} is a zombie: it has exited and waits for its parent", pid);
        }

        int errno = proc.Read("auxv", buffer);
        if (errno is Errno.EACCES or Errno.EPERM)
        {
            throw NotPermitted(pid, errno);
        }

        if (errno == 0 && AuxiliaryVector.Width(buffer.Text) == WordWidth.Bits32)
        {
            throw new TargetException(
                TargetError.Refused, $"process {pid} is a 32-bit program: only 64-bit x86 programs are merged", pid);
        }
    }

    private static SafeFileHandle OpenMemory(int pid, ProcReader proc)
    {
        SafeFileHandle memory = proc.Open("mem", out int errno);
        if (!memory.IsInvalid)
        {
            return memory;
        }

        memory.Dispose();
        throw errno is Errno.EACCES or Errno.EPERM ? NotPermitted(pid, errno) : NoSuchProcess(pid);
    }
}
