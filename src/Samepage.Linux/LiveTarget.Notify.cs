using System.Runtime.InteropServices;
using Samepage.Linux.Interop;
using Samepage.Linux.Program;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <content>
/// Telling notifiers while the target is stopped. The stop window is one native call with nothing managed in it, so that
/// a garbage collection cannot stretch it. While somebody listens, the program gets three more operations at its
/// end: say that the pages are in place, wake us, and wait (futex, for a limited time) until we have told everybody. The thread
/// that waits for the window anyway does the telling. Nobody listening: no operation, no cost.
/// </content>
public sealed partial class LiveTarget
{
    // A pause of the daemon (its garbage collector, a busy machine) must not hold a target for ever. The program goes
    // on after this time; the notifiers are told all the same, and it is counted.
    private const int ToldLimitNanoseconds = 20_000_000;
    private const long WindowOver = 1;
    private const int NotifyOperations = 3;
    private int _waitOperation = -1;

    /// <inheritdoc/>
    public MmuNotifiers Notifiers { get; } = new();

    /// <inheritdoc/>
    public bool LeavesBreaksToPasses => true;

    /// <summary>
    /// How often notifiers were told only after the target ran on, because telling took longer than it may be held.
    /// </summary>
    public long LateNotifications { get; private set; }

    /// <summary>Ends the batch with the point at which the target waits until notifiers have been told.</summary>
    private void AddNotifyPoint()
    {
        ulong at = _control.TargetBase;
        _control.SetHeader(ControlLayout.ToldLimit, 0);
        _control.SetHeader(ControlLayout.ToldLimit + 8, ToldLimitNanoseconds);
        // A wait for a value that is not there fails at once: the error is what says that the program has come here.
        _ = _control.AddCall(
            Abi.SYS_futex, [at + ControlLayout.Told, Abi.FUTEX_WAIT, 77, at + ControlLayout.ToldLimit],
            resultTo: ControlLayout.Placed);
        _ = _control.AddCall(Abi.SYS_futex, [at + ControlLayout.Placed, Abi.FUTEX_WAKE, 1]);
        _waitOperation = _control.AddCall(
            Abi.SYS_futex, [at + ControlLayout.Told, Abi.FUTEX_WAIT, 0, at + ControlLayout.ToldLimit]);
    }

    /// <summary>One window with a batch; tells notifiers meanwhile.</summary>
    private WindowResult RunNotifyingWindow(int onlyThread, int timeOuts, MergePlan[]? plans)
    {
        if (plans is null)
        {
            return RunWindow(onlyThread, timeOuts);
        }

        if (_machine.Options.NotifiesAfterwards)
        {
            WindowResult late = RunWindow(onlyThread, timeOuts);
            if (late.Status == WindowStatus.Done)
            {
                Tell(plans);
            }

            return late;
        }

        _control.SetHeader(ControlLayout.Placed, 0);
        _control.SetHeader(ControlLayout.Told, 0);
        WindowResult result = RunWindow(onlyThread, timeOuts, () => TellWhenPlaced(plans));
        if (result.Status == WindowStatus.Done && _control.CallResult(_waitOperation) == -Abi.ETIMEDOUT)
        {
            LateNotifications++;
        }

        return result;
    }

    private void TellWhenPlaced(MergePlan[] plans)
    {
        while (_control.Header(ControlLayout.Placed) == 0)
        {
            SharedFutex.Wait(_control.Address + ControlLayout.Placed, 0, TimeSpan.FromMilliseconds(1));
        }

        if (_control.Header(ControlLayout.Placed) == WindowOver)
        {
            return;
        }

        try
        {
            Tell(plans);
        }
        finally
        {
            _control.SetHeader(ControlLayout.Told, 1);
            SharedFutex.Wake(_control.Address + ControlLayout.Told);
        }
    }

    /// <summary>On the tracing thread, when a window has ended however it did: nobody waits for it any more.</summary>
    private void EndNotifyPoint()
    {
        if (_waitOperation >= 0 && _control.Header(ControlLayout.Placed) == 0)
        {
            _control.SetHeader(ControlLayout.Placed, WindowOver);
            SharedFutex.Wake(_control.Address + ControlLayout.Placed);
        }
    }

    /// <summary>Tells what the operations of this batch have done so far, as few spans as possible.</summary>
    private void Tell(MergePlan[] plans)
    {
        PteChange last = default;
        foreach (Part part in _parts.All)
        {
            MergePlan plan = plans[part.Plan];
            ulong done = _control.Status(part.Operation) == OpLayout.StatusDone
                ? (ulong)part.Count << PageSize.Shift : _control.DoneBytes(part.Operation) & ~(ulong)(PageSize.Bytes - 1);
            if (_control.Status(part.Operation) == OpLayout.StatusNone || done == 0)
            {
                continue;
            }

            bool shared = plan.Kind is PlanKind.Share or PlanKind.Reshare;
            var change = new PteChange(
                (plan.Start + part.Offset) << PageSize.Shift, done, shared ? MmuEvent.Shared : MmuEvent.Zeroed,
                shared ? Domain : null, shared ? ((ulong)plan.Slot + part.Offset) << PageSize.Shift : 0);
            if (last.Length != 0 && last.Kind == change.Kind && last.End == change.Address
                && (!shared || last.StoreOffset + last.Length == change.StoreOffset))
            {
                last = last with { Length = last.Length + change.Length };
                continue;
            }

            if (last.Length != 0)
            {
                Notifiers.ChangePte(last);
            }

            last = change;
        }

        if (last.Length != 0)
        {
            Notifiers.ChangePte(last);
        }
    }

    /// <summary>
    /// Un-merging: the target runs on meanwhile and may write its new copies at once, so whoever keeps translations has to
    /// drop them before.
    /// </summary>
    private List<MmuRange> AnnounceUnshare(ReadOnlySpan<MergePlan> plans)
    {
        var ranges = new List<MmuRange>();
        if (Notifiers.Count > 0)
        {
            foreach (Part part in _parts.All)
            {
                ulong start = plans[part.Plan].Start + part.Offset;
                ranges.Add(Notifiers.InvalidateRangeStart(start << PageSize.Shift, (start + part.Count) << PageSize.Shift));
            }
        }

        return ranges;
    }

    private void EndUnshare(List<MmuRange> ranges)
    {
        for (int i = 0; i < ranges.Count; i++)
        {
            if (_control.CallResult(_parts[i].Operation) == 0)
            {
                Notifiers.ChangePte(
                    new PteChange(ranges[i].Start, ranges[i].End - ranges[i].Start, MmuEvent.Unshared));
            }

            Notifiers.InvalidateRangeEnd(ranges[i]);
        }
    }
}
