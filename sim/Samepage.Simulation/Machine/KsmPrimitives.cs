namespace Samepage.Simulation;

/// <summary>A page found by <see cref="KsmPrimitives.TryGetPte"/>: its entry then, and a reference on its frame.
/// </summary>
/// <param name="Space">Address space.</param>
/// <param name="Page">Page number.</param>
/// <param name="Entry">The entry as it was found.</param>
public readonly record struct HeldPage(AddressSpace Space, ulong Page, Pte Entry);

/// <summary>
/// The operations KSM's patches added to the kernel's memory management, one by one. Everything that merges goes
/// through them, in this order: get_pte, page_wrprotect, compare, replace_page. Between two of them other CPUs run.
/// </summary>
public sealed class KsmPrimitives(MemoryManager memory, SimulatedMachine machine)
{
    private const int FewMappings = 8;

    /// <summary>
    /// get_pte: the entry of a virtual address, if a page is present there. Takes a reference on its frame, so
    /// that the frame stays the frame whatever the process does; <see cref="Put"/> gives it back.
    /// </summary>
    public bool TryGetPte(AddressSpace space, ulong page, out HeldPage held)
    {
        ArgumentNullException.ThrowIfNull(space);
        Pte pte = space.PteOf(page);
        held = new HeldPage(space, page, pte);
        if (!pte.IsPresent)
        {
            return false;
        }

        memory.Frames.AddReference(pte.Frame);
        return true;
    }

    /// <summary>Gives the reference back.</summary>
    public void Put(in HeldPage held) => memory.Frames.DropReference(held.Entry.Frame);

    /// <summary>
    /// page_wrprotect: makes every mapping of the held frame read-only, in whatever address space. Fails, and changes
    /// nothing, when somebody beside the mappings and the caller holds the frame: direct I/O writes memory without
    /// asking a page table. The entries are cleared and flushed before the references are counted, or a lockless
    /// lookup could take one in between.
    /// </summary>
    /// <param name="held">The page; the caller's is the only extra reference allowed.</param>
    /// <param name="entry">Its write-protected entry; what <see cref="ReplacePage"/> has to find.</param>
    public bool PageWrprotect(in HeldPage held, out Pte entry)
    {
        uint frame = held.Entry.Frame;
        entry = held.Entry.Without(Pte.WritableBit);
        MappingKey room = default;
        ReadOnlySpan<MappingKey> keys = memory.Frames.MappingsOf(frame, ref room);
        bool counted = memory.Mutant == Mutant.CountBeforeClear && !IsHeldByOthers(frame);
        if (memory.Mutant == Mutant.CountBeforeClear)
        {
            machine.Point(SchedulingPoint.Locked, held);
        }

        Span<Pte> before = keys.Length <= FewMappings ? stackalloc Pte[FewMappings] : new Pte[keys.Length];
        for (int i = 0; i < keys.Length; i++)
        {
            AddressSpace space = memory.Spaces[keys[i].Space];
            before[i] = space.PteOf(keys[i].Page);
            entry = keys[i] == held.Space.KeyOf(held.Page) ? before[i].Without(Pte.WritableBit) : entry;
            space.Table.Touch(keys[i].Page) = 0;
            if (memory.Mutant != Mutant.MissedFlushOnProtect)
            {
                memory.Flush(space, keys[i].Page);
            }
        }

        machine.Point(SchedulingPoint.Locked, held);
        bool free = memory.Mutant switch
        {
            Mutant.CountBeforeClear => counted,
            Mutant.IgnoredReference => true,
            _ => !IsHeldByOthers(frame),
        };
        for (int i = 0; i < keys.Length; i++)
        {
            AddressSpace space = memory.Spaces[keys[i].Space];
            ulong page = keys[i].Page;
            if (!free || !before[i].IsWritable)
            {
                space.Table.Touch(page) = before[i].Bits;
                continue;
            }

            var change = new PteChange(
                page << PageSize.Shift, PageSize.Bytes, MmuEvent.WriteProtected, Frame: frame);
            memory.Enter(
                space,
                page,
                before[i].Without(Pte.WritableBit),
                change,
                flush: memory.Mutant != Mutant.MissedFlushOnProtect);
        }

        return free;
    }

    /// <summary>
    /// replace_page: puts another frame behind an entry, read-only, but only if the entry is still the expected one;
    /// whatever happened since, a write included, has changed it. The old translation is flushed without a notification
    /// and the new page entered through <see cref="SetPteAtNotify"/>.
    /// </summary>
    /// <param name="held">The page.</param>
    /// <param name="expected">Its entry as <see cref="PageWrprotect"/> left it.</param>
    /// <param name="frame">The new frame: a store's, or the zero page.</param>
    /// <param name="change">What notifiers are told.</param>
    public bool ReplacePage(in HeldPage held, Pte expected, uint frame, in PteChange change)
    {
        Pte pte = held.Space.PteOf(held.Page);
        if (memory.Mutant == Mutant.ReplacedUnexpected ? !pte.IsPresent || pte.IsShared : pte != expected)
        {
            return false;
        }

        MappingKey key = held.Space.KeyOf(held.Page);
        memory.Frames.AddMapping(frame, key);
        Pte shared = Pte.Shared(frame);
        SetPteAtNotify(
            held.Space,
            held.Page,
            memory.Mutant == Mutant.WritableShared ? shared.With(Pte.WritableBit) : shared,
            change);
        memory.Frames.RemoveMapping(pte.Frame, key);
        return true;
    }

    /// <summary>
    /// set_pte_at_notify: flushes what CPUs remember of the old entry, writes the new one and tells each notifier by
    /// ChangePte, so that a secondary MMU has the new page without having to fault for it. Under
    /// <see cref="NotificationRule.InvalidateRange"/>: invalidates around the change, as today's kernels.
    /// </summary>
    public void SetPteAtNotify(AddressSpace space, ulong page, Pte entry, in PteChange change) => memory.Enter(
        space,
        page,
        entry,
        change,
        flush: memory.Mutant != Mutant.MissedFlushOnReplace,
        notify: memory.Mutant != Mutant.SkippedNotifierOnReplace);

    private bool IsHeldByOthers(uint frame) => memory.Frames[frame].ExtraReferences > 1;
}
