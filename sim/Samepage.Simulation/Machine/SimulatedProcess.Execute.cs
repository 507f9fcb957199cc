namespace Samepage.Simulation;

// How plans are carried out, with KSM's primitives.
public sealed partial class SimulatedProcess
{
    /// <summary>Pages replaced by shared ones, ever.</summary>
    public long PagesReplaced { get; private set; }

    public void Execute(IPageStore store, Span<MergePlan> plans)
    {
        bool busy = IsAlive && _machine.Fires(MachineFault.TargetBusy);
        for (int i = 0; i < plans.Length; i++)
        {
            ref MergePlan plan = ref plans[i];
            if (plan.Count == 0 || (i > 0 && plan.Start < plans[i - 1].Start + plans[i - 1].Count))
            {
                _machine.Violation("plans", $"plan {i} of {Name} is empty, out of order or overlaps");
            }

            plan.DonePages = 0;
            plan.Outcome = !IsAlive ? PlanOutcome.TargetGone : busy ? PlanOutcome.TargetBusy : PlanOutcome.Done;
            while (plan.Outcome == PlanOutcome.Done && plan.DonePages < plan.Count)
            {
                _machine.Point(SchedulingPoint.Planned, this, plan.Start + plan.DonePages);
                plan.Outcome = ExecuteOne((SimulatedStore)store, plan, plan.DonePages);
                plan.DonePages += plan.Outcome == PlanOutcome.Done ? 1u : 0;
            }

            _machine.Spend(plan.DonePages, 0);
        }
    }

    private PlanOutcome ExecuteOne(SimulatedStore store, in MergePlan plan, uint index)
    {
        ulong page = plan.Start + index;
        if (!IsAlive)
        {
            return PlanOutcome.TargetGone;
        }

        PlanOutcome fault = FaultNow();
        if (fault != PlanOutcome.Done)
        {
            return fault;
        }

        if (plan.Kind == PlanKind.Unshare)
        {
            Unshare(page);
            return PlanOutcome.Done;
        }

        bool zero = plan.Kind == PlanKind.Zero;
        uint slot = plan.Slot + index;
        uint frame = zero ? PhysicalMemory.ZeroFrame : store.FrameOf(slot);
        PteChange change = new(
            page << PageSize.Shift,
            PageSize.Bytes,
            zero ? MmuEvent.Zeroed : MmuEvent.Shared,
            zero ? null : store.Domain,
            zero ? 0 : (ulong)slot << PageSize.Shift,
            frame);
        return Replace(page, frame, change);
    }

    /// <summary>What ksm.c calls try_to_merge_one_page.</summary>
    private PlanOutcome Replace(ulong page, uint frame, in PteChange change)
    {
        if (!Space.TryFindVma(page, out Vma vma) || !vma.IsWritable
            || !_machine.Ksm.TryGetPte(Space, page, out HeldPage held))
        {
            return PlanOutcome.Vanished;
        }

        Space.IsLocked = _memory.Mutant != Mutant.UnlockedReplace;
        try
        {
            if (held.Entry.IsShared)
            {
                return PlanOutcome.Vanished;
            }

            _machine.Point(SchedulingPoint.Found, held);
            PlanOutcome equal = ProtectAndCompare(held, frame, out Pte expected);
            if (equal != PlanOutcome.Done)
            {
                return equal;
            }

            _machine.Point(SchedulingPoint.Compared, held);
            if (!_machine.Ksm.ReplacePage(held, expected, frame, change))
            {
                return IsAlive ? PlanOutcome.ContentChanged : PlanOutcome.TargetGone;
            }

            PagesReplaced++;
        }
        finally
        {
            Space.IsLocked = false;
            _machine.Ksm.Put(held);
        }

        _machine.Point(SchedulingPoint.Replaced, held);
        return PlanOutcome.Done;
    }

    private PlanOutcome ProtectAndCompare(in HeldPage held, uint frame, out Pte expected)
    {
        Mutant mutant = _memory.Mutant;
        bool compareFirst = mutant == Mutant.CompareBeforeProtect;
        expected = held.Entry;
        if (compareFirst && !IsEqual(held, frame))
        {
            return PlanOutcome.ContentChanged;
        }

        if (compareFirst)
        {
            _machine.Point(SchedulingPoint.Compared, held);
        }

        if (mutant != Mutant.NoWriteProtect && !_machine.Ksm.PageWrprotect(held, out expected))
        {
            return PlanOutcome.Pinned;
        }

        _machine.Point(SchedulingPoint.Protected, held);
        if (!compareFirst && !IsEqual(held, frame))
        {
            return PlanOutcome.ContentChanged;
        }

        // A broken machine that has protected nothing has only the present entry to go by.
        expected = mutant == Mutant.NoWriteProtect ? Space.PteOf(held.Page) : expected;
        return PlanOutcome.Done;
    }

    private bool IsEqual(in HeldPage held, uint frame) => _memory.Mutant == Mutant.NoCompare
        || _memory.Frames[held.Entry.Frame].Content == _memory.Frames[frame].Content;

    private void Unshare(ulong page)
    {
        Pte pte = Space.PteOf(page);
        if (pte.IsPresent && pte.IsShared && _memory.Frames[pte.Frame].Kind == FrameKind.Store)
        {
            _memory.Break(Space, page, pte, MmuEvent.Unshared);
        }
    }

    private PlanOutcome FaultNow() => _machine.Faults is null ? PlanOutcome.Done
        : _machine.Fires(MachineFault.OverVmaBudget) ? PlanOutcome.OverVmaBudget
        : _machine.Fires(MachineFault.ThreadArea) ? PlanOutcome.ThreadArea
        : _machine.Fires(MachineFault.AsyncWriters) ? PlanOutcome.AsyncWriters
        : _machine.Fires(MachineFault.Refused) ? PlanOutcome.Refused
        : PlanOutcome.Done;
}
