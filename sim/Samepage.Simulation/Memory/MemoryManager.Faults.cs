namespace Samepage.Simulation;

// Page faults, copy-on-write, swap, and how an entry is replaced.
public sealed partial class MemoryManager
{
    /// <summary>Makes an access possible that the page table does not allow yet.</summary>
    /// <returns>False when the areas do not allow it either.</returns>
    internal bool Fault(AddressSpace space, ulong page, bool write)
    {
        if (!space.TryFindVma(page, out Vma vma) || (write && !vma.IsWritable))
        {
            return false;
        }

        Faults++;
        var pte = new Pte(space.Table.Get(page));
        if (pte.IsSwapped)
        {
            SwapIn(space, page, pte, vma.IsWritable);
        }
        else if (pte.IsNone)
        {
            ref ulong entry = ref space.Table.Touch(page);
            entry = write
                ? Pte.Written(Map(Frames.Allocate(FrameKind.Anonymous, default), space, page)).Bits
                : Pte.Shared(Map(PhysicalMemory.ZeroFrame, space, page)).Bits;
        }
        else if (write && !pte.IsWritable)
        {
            if (pte.IsShared || Frames[pte.Frame].Mappings > 1)
            {
                Break(space, page, pte, MmuEvent.Broken);
            }
            else
            {
                // Nobody else has it (any more).
                space.Table.Touch(page) = pte.With(Pte.WritableBit | Pte.DirtyBit).Bits;
            }
        }

        return true;
    }

    /// <summary>
    /// Copy-on-write: gives the process a page of its own in place of the one it shares. The rule: the old translation
    /// is flushed and nobody is told, the new page is entered with set_pte_at_notify.
    /// </summary>
    internal void Break(AddressSpace space, ulong page, Pte pte, MmuEvent kind)
    {
        Breaks++;
        PageContent content = Mutant == Mutant.BreakWithoutCopy ? default : Frames[pte.Frame].Content;
        uint copy = Map(Frames.Allocate(FrameKind.Anonymous, content), space, page);
        Enter(
            space,
            page,
            Pte.Written(copy),
            new PteChange(page << PageSize.Shift, PageSize.Bytes, kind, Frame: copy),
            flush: Mutant != Mutant.MissedFlushOnBreak,
            notify: Mutant != Mutant.SkippedNotifierOnBreak);
        Frames.RemoveMapping(pte.Frame, space.KeyOf(page));
    }

    /// <summary>Replaces an entry: ptep_clear_flush, then set_pte_at_notify, or what today's kernels do.</summary>
    internal void Enter(
        AddressSpace space, ulong page, Pte next, in PteChange change, bool flush = true, bool notify = true)
    {
        bool around = notify && Rule == NotificationRule.InvalidateRange && space.Notifiers.Count > 0;
        MmuRange range = around ? space.Notifiers.InvalidateRangeStart(change.Address, change.End) : default;
        if (flush)
        {
            Flush(space, page);
        }

        space.Table.Touch(page) = next.Bits;
        if (around)
        {
            space.Notifiers.InvalidateRangeEnd(range);
        }
        else if (notify)
        {
            space.Notifiers.ChangePte(change);
        }
    }

    /// <summary>
    /// Pushes a page out, if it is a private one of one process that nobody holds.
    /// </summary>
    internal bool SwapOut(AddressSpace space, ulong page)
    {
        var pte = new Pte(space.Table.Get(page));
        if (!pte.IsPresent || pte.IsShared)
        {
            return false;
        }

        ref Frame frame = ref Frames[pte.Frame];
        if (frame.Mappings > 1 || frame.ExtraReferences > 0 || space.Notifiers.ClearFlushYoung(page << PageSize.Shift))
        {
            return false;
        }

        MmuRange range = Begin(space, new PageRange(page, page + 1));
        space.Table.Touch(page) = Pte.Swapped(Swap.Put(frame.Content)).Bits;
        space.SwappedPages++;
        Flush(space, page);
        Frames.RemoveMapping(pte.Frame, space.KeyOf(page));
        space.Notifiers.InvalidateRangeEnd(range);
        return true;
    }

    private void SwapIn(AddressSpace space, ulong page, Pte pte, bool writable)
    {
        uint frame = Map(Frames.Allocate(FrameKind.Anonymous, Swap.Get(pte.Frame)), space, page);
        Swap.Drop(pte.Frame);
        space.SwappedPages--;
        space.Table.Touch(page) = Pte.Private(frame, writable).Bits;
    }

    private uint Map(uint frame, AddressSpace space, ulong page)
    {
        Frames.AddMapping(frame, space.KeyOf(page));
        return frame;
    }

    private static MmuRange Begin(AddressSpace space, PageRange range) =>
        space.Notifiers.InvalidateRangeStart(range.StartAddress, range.EndAddress);
}
