using System.Diagnostics;
using System.Runtime.InteropServices;
using Samepage.Linux.Host;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <content>Running the operations in the control area inside the target.</content>
public sealed partial class LiveTarget
{
    /// <summary>Threads come and go; more areas than this are not worth splitting runs for.</summary>
    private const int ThreadAreasMax = 64;

    /// <summary>Estimates are met on average only; what takes so much longer than the batch time is cut.</summary>
    private const double EnoughOfBatchTime = 1.15;

    private TimeSpan EnoughTime => _machine.Options.EnoughTime ?? _machine.Options.BatchTime * EnoughOfBatchTime;

    private readonly List<int> _tids = [];
    private readonly ParentThreads _parents;
    private readonly Rows<ulong> _threadAreas = new();
    private long _nextWriterLook;
    private bool _hasAsyncWriters;
    private int _filterCount;

    /// <summary>One stop window with the operations that are in the control area.</summary>
    private WindowResult RunWindow(int onlyThread, int timeOuts = 0, Action? meanwhile = null)
    {
        int slot = _control.TakeSlot();
        if (slot < 0)
        {
            return new WindowResult(WindowStatus.SomebodyInside, 0, 0, 0, 0, 0, 0);
        }

        var request = new WindowRequest
        {
            TaskDirectory = (int)_tasks.DangerousGetHandle(),
            OnlyThread = onlyThread,
            ControlArea = _control.Address,
            TargetBase = _control.TargetBase,
            Slot = slot,
            Descriptors = Descriptors(),
            // On a busy machine threads need longer to stop; better a longer limit than trying for nothing.
            EnoughNanoseconds = (long)EnoughTime.TotalNanoseconds,
            StopLimitNanoseconds = (long)_machine.Options.StopLimit.TotalNanoseconds << Math.Min(timeOuts, 4),
        };
        int[] parents = _parents.Current();
        return _tracer.Run(window =>
        {
            window.SetRestarts(_restarts.Entries);
            window.SetParents(parents);
            WindowResult result = window.Run(request);
            EndNotifyPoint();
            if (result.Stragglers > 0)
            {
                TracerThread.EndThreadAfterThis();
            }

            _restarts.Update(window);
            Remember(result.ThreadAreas.Data);
            Remember(result.ThreadAreas.Rseq);
            return result;
        }, meanwhile);
    }

    private void Remember(ulong area)
    {
        if (area != 0 && _threadAreas.Count < ThreadAreasMax && !_threadAreas.All.Contains(area >> PageSize.Shift))
        {
            _threadAreas.Add(area >> PageSize.Shift);
        }
    }

    /// <summary>
    /// How many pages may be one operation: a window skips every operation near the data of the thread it borrows, and that
    /// should cost the few pages there, not the run they lie in.
    /// </summary>
    internal static uint ClearOf(ReadOnlySpan<ulong> areas, ulong page, uint count)
    {
        foreach (ulong area in areas)
        {
            (ulong from, ulong to) = (area - 1, area + 2);
            if (page < from && page + count > from)
            {
                count = (uint)(from - page);
            }
            else if (page >= from && page < to)
            {
                count = Math.Min(count, (uint)(to - page));
            }
        }

        return count;
    }

    private DescriptorPairs Descriptors() => new(
        (int)_tracking.DangerousGetHandle(), (int)_control.Header(ControlLayout.TrackingFd),
        (int)_merged.DangerousGetHandle(), (int)_control.Header(ControlLayout.MergedFd),
        (int)_storeInTarget.DangerousGetHandle(), (int)_control.Header(ControlLayout.StoreFd));

    /// <summary>Runs the operations with one thread only, the others running on; tries several threads and times.</summary>
    private WindowStatus RunOne()
    {
        WindowStatus status = WindowStatus.Gone;
        for (int attempt = 0; attempt < AttemptsMax && IsAlive && !_tracer.HasToEnd; attempt++)
        {
            status = RunWindow(AnyThread(attempt)).Status;
            if (status == WindowStatus.Done)
            {
                return status;
            }

            Thread.Sleep(1);
        }

        return status;
    }

    private int AnyThread(int attempt)
    {
        if (!_process.Proc.TryReadThreads(_tids))
        {
            return Pid;
        }

        _parents.Order(_tids);
        return _tids[attempt % _tids.Count];
    }

    /// <summary>
    /// True as long as the process has the system call filters that were judged when it was attached; new ones are judged
    /// before anything more is done in it.
    /// </summary>
    private bool FiltersAllow()
    {
        if (!_process.Proc.TryReadStatus(_buffer, out ProcessStatus status) || status.SeccompFilterCount == _filterCount)
        {
            return true;
        }

        try
        {
            _ = _tracer.Run(_ =>
            {
                byte[] registers = new byte[SlotLayout.RegistersBytes + 8];
                using BorrowedThread thread = Bootstrap.Borrow(_process, registers);
                SeccompGate.Check(_process.Proc, thread.SeccompFilters());
                return 0;
            });
            _filterCount = status.SeccompFilterCount;
            return true;
        }
        catch (TargetException)
        {
            return false;
        }
    }

    private bool HasAsyncWriters()
    {
        long now = Environment.TickCount64;
        if (now >= _nextWriterLook)
        {
            _nextWriterLook = now + 250;
            _hasAsyncWriters = AsyncWriters.Has(_process.Proc);
        }

        return _hasAsyncWriters;
    }
}

/// <summary>
/// Waits with a time-out in milliseconds that a stop makes start again (epoll_wait, epoll_pwait): remembers when each
/// was to end, so that the next window shortens it. The upper half of the fourth argument, which the kernel does not
/// look at, marks a wait that has been shortened before.
/// </summary>
internal sealed class RestartTable
{
    private const int EpollWait = 232, EpollPwait = 281;
    private readonly Dictionary<int, (uint Tag, long Deadline)> _waits = [];
    private (int, uint, long)[] _entries = [];

    public ReadOnlySpan<(int Tid, uint Tag, long Deadline)> Entries => _entries;

    /// <summary>Learns from the registers the last window found, and which marks it gave.</summary>
    public void Update(StopWindow window)
    {
        bool changed = false;
        // The call may have begun at any moment until its thread stopped: counted from now, so that none ends early.
        long now = Stopwatch.GetTimestamp() * (1_000_000_000 / Stopwatch.Frequency);
        for (int i = 0; i < window.ThreadCount; i++)
        {
            ThreadSnapshot thread = window.Thread(i);
            if (thread.OrigRax is not (EpollWait or EpollPwait) || thread.Rax != -Abi.EINTR
                || (int)thread.R10 <= 0 || thread.State != ThreadLayout.StateReleased)
            {
                continue;
            }

            uint tag = (uint)(thread.R10 >> 32);
            if (!_waits.TryGetValue(thread.Tid, out var wait) || wait.Tag != tag)
            {
                _waits[thread.Tid] = (tag, now + (long)(int)thread.R10 * 1_000_000);
                changed = true;
            }
        }

        if (changed)
        {
            Prune(now);
            _entries = [.. _waits.Select(w => (w.Key, w.Value.Tag, w.Value.Deadline))];
        }
    }

    private void Prune(long now)
    {
        foreach ((int tid, var wait) in _waits.ToArray())
        {
            if (wait.Deadline < now - 10_000_000_000)
            {
                _ = _waits.Remove(tid);
            }
        }
    }
}
