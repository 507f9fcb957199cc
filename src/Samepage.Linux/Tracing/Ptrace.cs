using System.Runtime.InteropServices;
using Samepage.Linux.Interop;
using Samepage.Linux.Program;

namespace Samepage.Linux.Tracing;

/// <summary>
/// Single ptrace requests, for the bootstrap and the way out, which borrow one thread and stop nobody else. The merge
/// batches use <see cref="StopWindow"/>.
/// </summary>
internal sealed unsafe class BorrowedThread : IDisposable
{
    private static readonly TimeSpan SettleLimit = TimeSpan.FromSeconds(2);
    private readonly int _tid;
    private bool _attached;

    private BorrowedThread(int tid) => _tid = tid;

    public int Tid => _tid;

    /// <summary>
    /// Stops a thread of the process in a place where it may be borrowed: inside a system call or, in user mode,
    /// outside a restartable sequence. Null when none is found just now.
    /// </summary>
    /// <exception cref="TargetException">Not permitted to trace it.</exception>
    public static BorrowedThread? Stop(int pid, ReadOnlySpan<int> tids, TimeSpan limit, Span<byte> registers)
    {
        bool refused = false;
        foreach (int tid in tids)
        {
            long result = Request(Abi.PTRACE_SEIZE, tid, 0, 0);
            if (result != 0)
            {
                refused |= Marshal.GetLastPInvokeError() == Abi.EPERM;
                continue;
            }

            var thread = new BorrowedThread(tid) { _attached = true };
            _ = Request(Abi.PTRACE_INTERRUPT, tid, 0, 0);
            if (thread.AwaitStop(limit) && thread.ReadRegisters(registers) && thread.MayBeBorrowed(registers))
            {
                return thread;
            }

            thread.Dispose();
        }

        return refused
            ? throw new TargetException(TargetError.NotPermitted, $"process {pid}: not permitted to trace it", pid)
            : null;
    }

    /// <summary>Runs the thread until it is done with the program, then hands over to the kernel's own restart logic.</summary>
    public bool AwaitStop(TimeSpan limit)
    {
        long end = Environment.TickCount64 + (long)limit.TotalMilliseconds;
        while (true)
        {
            int status = 0;

            // SAFETY: the kernel writes one int into a local.
            long result = Libc.syscall(Abi.SYS_wait4, _tid, (nint)(&status), Abi.WNOHANG | Abi.__WALL, 0);
            if (result == -1 || (result == _tid && (status & 0xFF) != 0x7F))
            {
                _attached = false;
                return false;
            }

            if (result == _tid)
            {
                if (status >> 16 == Abi.PTRACE_EVENT_STOP)
                {
                    return true;
                }

                HideStop();
                _ = Request(Abi.PTRACE_CONT, _tid, 0, (status >> 8) & 0xFF);
                continue;
            }

            if (Environment.TickCount64 > end)
            {
                return false;
            }

            _ = Libc.syscall(Abi.SYS_sched_yield);
        }
    }

    /// <summary>Looks once for a stop that was not asked for and lets the thread run on; false when it has died.</summary>
    public bool KeepRunning()
    {
        int status = 0;

        // SAFETY: the kernel writes one int into a local.
        long result = Libc.syscall(Abi.SYS_wait4, _tid, (nint)(&status), Abi.WNOHANG | Abi.__WALL, 0);
        if (result == -1 || (result == _tid && (status & 0xFF) != 0x7F))
        {
            _attached = false;
            return false;
        }

        if (result == _tid)
        {
            int signal = status >> 16 == Abi.PTRACE_EVENT_STOP ? 0 : (status >> 8) & 0xFF;
            _ = Request(Abi.PTRACE_CONT, _tid, 0, signal);
        }

        return true;
    }

    public bool ReadRegisters(Span<byte> registers)
    {
        // SAFETY: PTRACE_GETREGS writes user_regs_struct, 216 bytes; the span is checked to have room.
        ArgumentOutOfRangeException.ThrowIfLessThan(registers.Length, SlotLayout.RegistersBytes);
        fixed (byte* p = registers)
        {
            return Request(Abi.PTRACE_GETREGS, _tid, 0, (nint)p) == 0;
        }
    }

    public bool WriteRegisters(ReadOnlySpan<byte> registers)
    {
        // SAFETY: PTRACE_SETREGS reads 216 bytes.
        ArgumentOutOfRangeException.ThrowIfLessThan(registers.Length, SlotLayout.RegistersBytes);
        fixed (byte* p = registers)
        {
            return Request(Abi.PTRACE_SETREGS, _tid, 0, (nint)p) == 0;
        }
    }

    public ulong SignalMask
    {
        get
        {
            ulong mask = 0;

            // SAFETY: the kernel writes 8 bytes into a local.
            Libc.Check(Request(Abi.PTRACE_GETSIGMASK, _tid, 8, (nint)(&mask)), "PTRACE_GETSIGMASK");
            return mask;
        }

        set
        {
            ulong mask = value;

            // SAFETY: the kernel reads 8 bytes from a local.
            _ = Request(Abi.PTRACE_SETSIGMASK, _tid, 8, (nint)(&mask));
        }
    }

    public void Continue() => _ = Request(Abi.PTRACE_CONT, _tid, 0, 0);

    public void Interrupt() => _ = Request(Abi.PTRACE_INTERRUPT, _tid, 0, 0);

    /// <summary>Raw cBPF filters of the thread, newest first; each is 8 bytes an instruction.</summary>
    public List<byte[]> SeccompFilters()
    {
        var filters = new List<byte[]>();
        for (int index = 0; index < 64; index++)
        {
            long count = Request(Abi.PTRACE_SECCOMP_GET_FILTER, _tid, index, 0);
            if (count <= 0)
            {
                break;
            }

            byte[] filter = new byte[count * 8];

            // SAFETY: the kernel writes `count` instructions of 8 bytes.
            fixed (byte* p = filter)
            {
                if (Request(Abi.PTRACE_SECCOMP_GET_FILTER, _tid, index, (nint)p) != count)
                {
                    break;
                }
            }

            filters.Add(filter);
        }

        return filters;
    }

    private bool MayBeBorrowed(ReadOnlySpan<byte> registers)
    {
        if (BitConverter.ToInt64(registers[SlotLayout.Cs..]) != 0x33)
        {
            return false;
        }

        return BitConverter.ToInt64(registers[SlotLayout.OrigRax..]) >= 0 || !InRestartableSequence();
    }

    private bool InRestartableSequence()
    {
        ulong* rseq = stackalloc ulong[3];
        ulong section = 0;

        // SAFETY: struct ptrace_rseq_configuration is 24 bytes; PEEKDATA by system call stores one word.
        return Request(Abi.PTRACE_GET_RSEQ_CONFIGURATION, _tid, 24, (nint)rseq) > 0
            && rseq[0] != 0
            && Request(Abi.PTRACE_PEEKDATA, _tid, (nint)rseq[0] + 8, (nint)(&section)) == 0
            && section != 0;
    }

    private static long Request(int request, int tid, nint address, nint data) =>
        Libc.syscall(Abi.SYS_ptrace, request, tid, address, data);

    /// <summary>Lets the thread go. It must stand at a stop or be dead.</summary>
    public void Dispose()
    {
        if (!_attached)
        {
            return;
        }

        RestartInterruptedCall();
        _attached = false;
        if (Request(Abi.PTRACE_DETACH, _tid, 0, 0) != 0)
        {
            // Not stopped (in vfork): the kernel lets it go when this thread ends; see TracerThread.
            NeedsThreadExit = true;
        }
    }

    /// <summary>
    /// Hides from the thread that a mere stop has ended its system call, as <see cref="StopWindowCode"/> does. A thread on
    /// its way to the stop is waited for, because its call has ended already.
    /// </summary>
    private void RestartInterruptedCall()
    {
        if (!HideStop() && !ThreadState.IsUninterruptible(_tid) && AwaitStop(SettleLimit))
        {
            _ = HideStop();
        }
    }

    /// <summary>False when the thread does not stand at a stop.</summary>
    private bool HideStop()
    {
        byte[] registers = new byte[SlotLayout.RegistersBytes];
        if (!ReadRegisters(registers))
        {
            return false;
        }

        if (EndedByStop(registers))
        {
            _ = Request(Abi.PTRACE_POKEUSER, _tid, SlotLayout.Rax, -514);
        }

        return true;
    }

    /// <summary>True when the registers are those of a call that ended with EINTR although no signal came.</summary>
    internal static bool EndedByStop(ReadOnlySpan<byte> registers) =>
        BitConverter.ToInt64(registers[SlotLayout.Rax..]) == -Abi.EINTR
        && StopWindowCode.RestartableCalls.Contains((int)BitConverter.ToInt64(registers[SlotLayout.OrigRax..]));

    /// <summary>True when a thread could not be let go: the tracing thread has to end.</summary>
    [field: ThreadStatic]
    public static bool NeedsThreadExit { get; set; }
}
