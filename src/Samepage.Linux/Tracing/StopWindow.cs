using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Samepage.Linux.Interop;
using Samepage.Linux.Program;
using W = Samepage.Linux.Tracing.WindowLayout;

namespace Samepage.Linux.Tracing;

/// <summary>What a stop window is to do.</summary>
internal struct WindowRequest
{
    /// <summary>Descriptor of /proc/PID/task, open for reading.</summary>
    public int TaskDirectory;

    /// <summary>0: stop all threads. Otherwise the only thread to stop and borrow.</summary>
    public int OnlyThread;

    /// <summary>The control area in the daemon's address space.</summary>
    public nint ControlArea;

    /// <summary>The control area in the target's address space.</summary>
    public ulong TargetBase;

    /// <summary>Slot for the borrowed thread's context.</summary>
    public int Slot;

    /// <summary>Pairs of (our descriptor, the target's number) that must be the same open file; -1 = do not check.</summary>
    public DescriptorPairs Descriptors;

    /// <summary>Give up when not all threads have stopped after this time.</summary>
    public long StopLimitNanoseconds;

    /// <summary>After this time of the program's it begins no further merge operation. Below a second.</summary>
    public long EnoughNanoseconds;
}

/// <summary>Tracking userfaultfd, merged userfaultfd, store: ours and the target's number of each.</summary>
internal readonly record struct DescriptorPairs(
    int Tracking, int TargetTracking, int Merged, int TargetMerged, int Store, int TargetStore)
{
    public static readonly DescriptorPairs None = new(-1, -1, -1, -1, -1, -1);
}

/// <summary>What came of it. Times are CLOCK_MONOTONIC nanoseconds.</summary>
internal readonly record struct WindowResult(
    WindowStatus Status, int Borrowed, int Stragglers, long Begin, long AllStopped, long ProgramDone, long Released)
{
    /// <summary>First pages (addresses) of the borrowed thread's own data and of its rseq area; 0 = none, or nobody borrowed.
    /// Operations within a page before and two behind were skipped.</summary>
    public (ulong Data, ulong Rseq) ThreadAreas { get; init; }

    /// <summary>How long the target's threads stood still at most.</summary>
    public long StoppedNanoseconds => Released - Begin;
}

/// <summary>A thread as the last window found it.</summary>
internal readonly record struct ThreadSnapshot(int Tid, int State, long OrigRax, long Rax, ulong R10, ulong Rip, ulong Rsp);

/// <summary>
/// Owns the machine code of the stop window and its argument block. All calls must come from one thread, because
/// ptrace ties a tracee to the thread that seized it (within a call only: every window ends with everybody detached,
/// except <see cref="WindowResult.Stragglers"/>, which are let go when the calling thread exits).
/// </summary>
internal sealed class StopWindow : IDisposable
{
    public const int ThreadsMax = 8192;
    private const int DirectoryBufferBytes = 64 * 1024;
    private const int RestartsMax = 64;

    /// <summary>A starved thread (SCHED_IDLE on a busy machine) may need long to reach its stop.</summary>
    private static readonly TimeSpan SettleLimit = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan SleepersLimit = TimeSpan.FromMilliseconds(20);

    private readonly NativePages _memory;
    private readonly ExecutablePages _code;
    private readonly nint _block, _threads, _directory, _registers, _program, _head, _restarts, _parents;

    public StopWindow()
    {
        _code = new ExecutablePages(StopWindowCode.Build());
        int bytes = W.Bytes + ThreadsMax * ThreadLayout.Bytes + DirectoryBufferBytes + 3 * 512 + RestartsMax * RestartLayout.Bytes
            + ParentThreads.Max * sizeof(int);
        _memory = new NativePages((bytes + 4095) & ~4095);
        nint at = _memory.Address;
        nint Take(int size)
        {
            nint result = at;
            at += (size + 15) & ~15;
            return result;
        }

        _block = Take(W.Bytes);
        _threads = Take(ThreadsMax * ThreadLayout.Bytes);
        _directory = Take(DirectoryBufferBytes);
        _registers = Take(512);
        _program = Take(512);
        _head = Take(64);
        _restarts = Take(RestartsMax * RestartLayout.Bytes);
        _parents = Take(ParentThreads.Max * sizeof(int));
        Set(W.NextTag, 0x5A000000);
    }

    /// <summary>Threads seen by the last window.</summary>
    public int ThreadCount => (int)Get(W.ThreadCount);

    /// <summary>A thread seen by the last window.</summary>
    public ThreadSnapshot Thread(int index)
    {
        nint entry = _threads + index * ThreadLayout.Bytes;
        return new ThreadSnapshot(
            Marshal.ReadInt32(entry + ThreadLayout.Tid), Marshal.ReadInt32(entry + ThreadLayout.State),
            Marshal.ReadInt64(entry + ThreadLayout.OrigRax), Marshal.ReadInt64(entry + ThreadLayout.Rax),
            (ulong)Marshal.ReadInt64(entry + ThreadLayout.R10), (ulong)Marshal.ReadInt64(entry + ThreadLayout.Rip),
            (ulong)Marshal.ReadInt64(entry + ThreadLayout.Rsp));
    }

    /// <summary>Waits that must end at their own time: consulted by the next window.</summary>
    public void SetRestarts(ReadOnlySpan<(int Tid, uint Tag, long Deadline)> restarts)
    {
        int count = Math.Min(restarts.Length, RestartsMax);
        for (int i = 0; i < count; i++)
        {
            nint entry = _restarts + i * RestartLayout.Bytes;
            Marshal.WriteInt32(entry + RestartLayout.Tid, restarts[i].Tid);
            Marshal.WriteInt32(entry + RestartLayout.Tag, (int)restarts[i].Tag);
            Marshal.WriteInt64(entry + RestartLayout.DeadlineNanoseconds, restarts[i].Deadline);
        }

        Set(W.RestartCount, count);
    }

    /// <summary>Threads with children, the leader among them: consulted by the next window.</summary>
    public void SetParents(ReadOnlySpan<int> threads)
    {
        int count = Math.Min(threads.Length, ParentThreads.Max);
        for (int i = 0; i < count; i++)
        {
            Marshal.WriteInt32(_parents + i * sizeof(int), threads[i]);
        }

        Set(W.ParentCount, count);
    }

    /// <summary>One stop window. The control area must hold the operations already.</summary>
    public unsafe WindowResult Run(in WindowRequest request)
    {
        nint slot = request.ControlArea + ControlLayout.Slots + request.Slot * ControlLayout.SlotBytes;
        ulong code = request.TargetBase + ControlLayout.Code;
        Set(W.TaskDirectory, request.TaskDirectory);
        Set(W.Threads, _threads);
        Set(W.ThreadsMax, ThreadsMax);
        Set(W.DirectoryBuffer, _directory);
        Set(W.DirectoryBufferBytes, DirectoryBufferBytes);
        Set(W.Registers, _registers);
        Set(W.Slot, slot);
        Set(W.Header, request.ControlArea);
        Set(W.ProgramRegisters, _program);
        Set(W.StopLimitNanoseconds, (nint)request.StopLimitNanoseconds);
        Set(W.EnoughNanoseconds, (nint)request.EnoughNanoseconds);
        Set(W.ProgramStart, (nint)code);
        Set(W.ProgramEnd, (nint)(request.TargetBase + ControlLayout.TotalBytes));
        Set(W.Mode, request.OnlyThread == 0 ? W.ModeAll : W.ModeOne);
        Set(W.FaultRip, (nint)code + MergeProgram.Current.FaultEntry);
        Set(W.Restarts, _restarts);
        Set(W.Parents, _parents);
        Set(W.OwnThread, (nint)Libc.syscall(Abi.SYS_gettid));
        Set(W.Status, (nint)(long)WindowStatus.Gone);
        if (request.OnlyThread != 0)
        {
            Marshal.WriteInt32(_threads + ThreadLayout.Tid, request.OnlyThread);
        }

        DescriptorPairs d = request.Descriptors;
        ReadOnlySpan<int> numbers = [d.Tracking, d.TargetTracking, d.Merged, d.TargetMerged, d.Store, d.TargetStore];
        for (int i = 0; i < numbers.Length; i++)
        {
            Set(W.Descriptors + 8 * i, numbers[i]);
        }

        PrepareRobustList(request.ControlArea);
        Marshal.WriteInt64(_program + SlotLayout.R13,
            (long)request.TargetBase + ControlLayout.Stubs + request.Slot * ControlLayout.SlotBytes);
        Marshal.WriteInt64(_program + SlotLayout.R14, (long)request.TargetBase);
        Marshal.WriteInt64(_program + SlotLayout.Rip, (long)code + MergeProgram.Current.Entry);
        Marshal.WriteInt64(_program + SlotLayout.Rsp, (long)request.TargetBase + ControlLayout.StackTop);

        ComeFirst(true);

        // SAFETY: _code holds exactly the routine StopWindowCode emits, whose signature this is; block and everything it
        // points to belong to this object and live as long as it does.
        WindowStatus status = (WindowStatus)((delegate* unmanaged<nint, long>)_code.Address)(_block);
        ComeFirst(false);
        var result = new WindowResult(status, (int)Get(W.Borrowed), (int)Get(W.Stragglers),
            Get(W.Time0), Get(W.Time1), Get(W.Time2), Get(W.Time3))
        {
            ThreadAreas = ((ulong)Get(W.ThreadArea), (ulong)Get(W.RseqArea)),
        };
        return result.Stragglers == 0 ? result : result with { Stragglers = Settle() };
    }

    /// <summary>
    /// While this thread waits for a processor, the target stands still: the engine's thread, which scans meanwhile, may keep
    /// one for milliseconds. So for the time of a window it comes before all ordinary threads (SCHED_FIFO, lowest priority).
    /// Only here, where every wait ends in a sleep: sched_yield, which waits elsewhere use, lets no ordinary thread run
    /// then, and on a single processor a target never reached its stop. Without the permission nothing changes.
    /// </summary>
    private static unsafe void ComeFirst(bool first)
    {
        const int SYS_sched_setscheduler = 144, SCHED_OTHER = 0, SCHED_FIFO = 1, SCHED_RESET_ON_FORK = 0x40000000;
        int priority = first ? 1 : 0;

        // SAFETY: struct sched_param is one int.
        _ = Libc.syscall(
            SYS_sched_setscheduler, 0, (first ? SCHED_FIFO : SCHED_OTHER) | SCHED_RESET_ON_FORK, (nint)(&priority));
    }

    /// <summary>
    /// Waits for the threads that did not stop in time, to let each go in the orderly way: the interrupt has ended its
    /// system call already, and only here is that hidden from it. A thread in uninterruptible sleep (the parent in vfork)
    /// has not been woken by it and may be left to <see cref="TracerThread"/>. Returns how many are left.
    /// </summary>
    private unsafe int Settle()
    {
        Set(W.Mode, W.ModeSettle);
        Set(W.StopLimitNanoseconds, 1_000_000);
        var watch = Stopwatch.StartNew();
        TimeSpan lastHope = TimeSpan.Zero;
        while (true)
        {
            // SAFETY: as in Run; the thread table is the one that call left behind.
            _ = ((delegate* unmanaged<nint, long>)_code.Address)(_block);
            int left = (int)Get(W.Stragglers);
            lastHope = left > 0 && AnyMayStop() ? watch.Elapsed : lastHope;
            if (left == 0 || watch.Elapsed > SettleLimit || watch.Elapsed - lastHope > SleepersLimit)
            {
                return left;
            }
        }
    }

    private bool AnyMayStop()
    {
        for (int i = 0; i < ThreadCount; i++)
        {
            ThreadSnapshot thread = Thread(i);
            if (thread.State == ThreadLayout.StateWaiting && !ThreadState.IsUninterruptible(thread.Tid))
            {
                return true;
            }
        }

        return false;
    }

    private void PrepareRobustList(nint controlArea)
    {
        nint node = controlArea + ControlLayout.RobustNode;
        Marshal.WriteIntPtr(_head, node);
        Marshal.WriteInt64(_head + 8, ControlLayout.Mutex - ControlLayout.RobustNode);
        Marshal.WriteIntPtr(_head + 16, 0);
        Marshal.WriteIntPtr(node, _head);
        Set(W.RobustHead, _head);
        Set(W.OldRobustHead, GetRobustList());
    }

    private static unsafe nint GetRobustList()
    {
        nint head = 0, length = 0;

        // SAFETY: the kernel writes two words into locals of this frame.
        Libc.Check(Libc.syscall(Abi.SYS_get_robust_list, 0, (nint)(&head), (nint)(&length)), "get_robust_list");
        return head;
    }

    private void Set(int offset, nint value) => Marshal.WriteIntPtr(_block + offset, value);

    private long Get(int offset) => Marshal.ReadInt64(_block + offset);

    public void Dispose()
    {
        _code.Dispose();
        _memory.Dispose();
    }
}
