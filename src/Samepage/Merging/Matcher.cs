namespace Samepage;

/// <summary>
/// Decides what becomes of a page whose content is settled. What ksm.c calls cmp_and_merge_page:
/// an all-zero page is taken away; a page the stable tree knows joins its slot; a page with a partner in the unstable
/// tree becomes, with it, a new store page; any other goes into the unstable tree. Nothing here touches a target: pages
/// are planned, and <see cref="Executor"/> carries the plans out.
/// </summary>
internal sealed class Matcher(EngineState state, PageBatch batch)
{
    // Equal pages in other domains that one look may meet before it gives up looking for a partner.
    private const int SameKeyMax = 32;
    private const int OtherDomainsMax = 8;

    // Mappings of a store page after which it gets a twin.
    private const int PatternMappings = 16;

    // In place of an index into the batch: the page's bytes are not at hand.
    private const int KeyOnly = -1;

    private readonly ulong[] _expected = new ulong[PageBatch.PagesMax];
    private readonly int[] _attempts = new int[PageBatch.PagesMax];
    private readonly ulong[] _samples = new ulong[PageBatch.PagesMax];

    // The run of pages of the batch in hand that go to consecutive slots and are not written yet.
    private int _writeFirst;
    private int _writeCount;
    private uint _writeSlot;

    private enum Decision
    {
        /// <summary>Made; the page has its new word.</summary>
        Made,

        /// <summary>The page's bytes are needed; until they are there, other pages may be decided about.</summary>
        NeedsBytes,

        /// <summary>They are needed before the next page is decided about.</summary>
        NeedsBytesNow,
    }

    /// <summary>Decides about a page of which only the key is at hand.</summary>
    /// <param name="target">Its target.</param>
    /// <param name="id">Its id. Its word holds no mapping.</param>
    /// <param name="key">Key of its content.</param>
    /// <param name="broken">It lies in a mapping of the store.</param>
    public void Decide(RegisteredTarget target, uint id, ulong key, bool broken)
    {
        Decision decision = TryDecide(target, id, key, broken, 0, KeyOnly);
        if (decision == Decision.Made)
        {
            return;
        }

        ReadAgain(target, id, key, 0);
        if (decision == Decision.NeedsBytesNow)
        {
            ReadAll(target);
        }
    }

    /// <summary>Decides about a page of the batch, whose bytes have just been read. <see cref="FlushWrites"/> has to be
    /// called before the batch is used again.</summary>
    /// <param name="target">Its target.</param>
    /// <param name="index">Which page of the batch.</param>
    /// <param name="broken">It lies in a mapping of the store.</param>
    /// <param name="attempts">How often merging it has failed.</param>
    /// <param name="sample">Tree key of its sample; 0: it can have no twin.</param>
    public void DecideRead(RegisteredTarget target, int index, bool broken, int attempts, ulong sample)
    {
        uint id = batch.IdAt(index);
        Decision decision = TryDecide(target, id, batch.KeyAt(index), broken, attempts, index);
        Invariant.Check(decision == Decision.Made);
        if (state.Samples.TryFindTwin(sample, id, out uint twin))
        {
            DecideTwin(target, index, broken, attempts, twin);
        }
    }

    /// <summary>
    /// A page has been read, and another has the same sample. They are hardly ever different, so that one is not read
    /// but goes where this one goes; the machine compares bytes anyway. Where it cannot, it is read.
    /// </summary>
    private void DecideTwin(RegisteredTarget target, int index, bool broken, int attempts, uint twin)
    {
        TargetPages pages = target.Pages;
        uint id = batch.IdAt(index);
        var word = new PageWord(state.Pages[id]);
        uint wanted = word.State == PageState.Planned ? word.Slot : SlotAfterNeighbour(id);
        bool lone = wanted == PageWord.ZeroSlot || SlotAfterNeighbour(twin) != wanted;
        bool presumes = state.TargetOf(twin) is { IsStuck: false } owner && owner.Pages.Domain == pages.Domain
            && state.Samples.MayPresume(lone);
        if (presumes && word.State == PageState.Candidate && state.HasRoom)
        {
            state.Unstable.Remove(word.TreeKey, id);
            Promote(pages, id, word.Key, broken, attempts, [], index);
            word = new PageWord(state.Pages[id]);
        }

        if (!presumes || word.State != PageState.Planned || word.Slot == PageWord.ZeroSlot
            || pages.Domain.Slots.Mappings(word.Slot) >= state.Knobs.MappingsMax)
        {
            state.Samples.Read(twin);
            return;
        }

        state.Unstable.Remove(new PageWord(state.Pages[twin]).TreeKey, twin);
        state.TargetOf(twin)!.Pages.Plan(twin, PageWord.Presumed(word.Slot, lone));
        state.Samples.Presume(lone);
    }

    /// <summary>
    /// Has a page read (once enough of them have come together, or at <see cref="ReadAll"/>) and then decided about.
    /// </summary>
    /// <param name="target">Its target; the same for all until ReadAll.</param>
    /// <param name="id">Its id.</param>
    /// <param name="expectedKey">Only if it still has this key; 0: whatever it has.</param>
    /// <param name="attempts">How often merging it has failed.</param>
    public void ReadAgain(RegisteredTarget target, uint id, ulong expectedKey, int attempts)
    {
        _expected[batch.Count] = expectedKey;
        _attempts[batch.Count] = attempts;
        batch.Add(state.Pages.PageOf(id), id);
        if (batch.IsFull)
        {
            ReadAll(target);
        }
    }

    /// <summary>A page has been read that is not decided about: if another has the same sample, that one is read, too.</summary>
    public void ReadTwin(ulong sample, uint id)
    {
        if (state.Samples.TryFindTwin(sample, id, out uint twin))
        {
            state.Samples.Read(twin);
        }
    }

    /// <summary>Decides about all pages that wait to be read.</summary>
    public void ReadAll(RegisteredTarget target)
    {
        if (batch.Count == 0)
        {
            return;
        }

        batch.Read(target.Target, state.Digester);
        state.Samples.WereRead(batch, _samples);
        for (int i = 0; i < batch.Count; i++)
        {
            ref ulong word = ref state.Pages[batch.IdAt(i)];
            var old = new PageWord(word);
            bool changed = !batch.WasRead(i) || (_expected[i] != 0 && _expected[i] != batch.KeyAt(i));
            if (old.State is not (PageState.Fresh or PageState.Unmergeable))
            {
                ReadTwin(_samples[i], batch.IdAt(i));
                continue;
            }

            target.Pages.Change(ref word, PageWord.Unknown(old.IsBroken));
            if (!changed)
            {
                DecideRead(target, i, old.IsBroken, _attempts[i], _samples[i]);
            }
            else
            {
                ReadTwin(_samples[i], batch.IdAt(i));
                // Most likely it was written, and the next scan lists it anyway.
                target.Pages.Fail(batch.IdAt(i), NotMergedReason.ContentChanged, _attempts[i] + 1, old.IsBroken);
            }
        }

        FlushWrites(target.Pages.Domain);
        batch.Clear();
    }

    /// <summary>
    /// Lets candidates join slots that were not to be had when they were decided about: because they had all the
    /// mappings they may have, or because we did not know their content yet.
    /// </summary>
    public void JoinReopened()
    {
        foreach (MergeDomain domain in state.Domains)
        {
            foreach (uint slot in domain.Reopened)
            {
                Join(domain, slot);
            }

            domain.Reopened.Clear();
            if (domain.Reopened.Capacity > 1024)
            {
                domain.Reopened.Capacity = 0;
            }
        }
    }

    private void Join(MergeDomain domain, uint slot)
    {
        ulong key = domain.Slots.KeyOf(slot);
        Span<uint> equal = stackalloc uint[SameKeyMax];
        equal = equal[..(key == 0 ? 0 : state.Unstable.Find(key, equal))];
        foreach (uint id in equal)
        {
            if (state.TargetOf(id) is { } owner && owner.Pages.Domain == domain
                && domain.Slots.Mappings(slot) < state.Knobs.MappingsMax)
            {
                state.Unstable.Remove(key, id);
                owner.Pages.Plan(id, slot, 0, new PageWord(state.Pages[id]).IsBroken);
            }
        }
    }

    /// <summary>Writes the bytes of the batch's pages that became store pages.</summary>
    public void FlushWrites(MergeDomain domain)
    {
        if (_writeCount == 0)
        {
            return;
        }

        try
        {
            domain.Store.Write(_writeSlot, batch.Bytes(_writeFirst, _writeCount));
        }
        catch (IOException)
        {
            // No memory for new store pages. Whoever was planned to map them is told by the executor.
            domain.MarkUnwritten(_writeSlot, _writeCount);
        }

        _writeCount = 0;
    }

    private Decision TryDecide(
        RegisteredTarget target, uint id, ulong key, bool broken, int attempts, int index)
    {
        TargetPages pages = target.Pages;
        // A broken page lies in a mapping of the store: taken away, the store would show through. It may still join a
        // store page that is all zero.
        if (key == state.ZeroKey && state.Knobs.UseZeroPages && !broken)
        {
            pages.Plan(id, PageWord.ZeroSlot, attempts, broken);
            return Decision.Made;
        }

        MergeDomain domain = pages.Domain;
        uint wanted = SlotAfterNeighbour(id);
        if (domain.IsJoinable(wanted, key, state.Knobs.MappingsMax))
        {
            pages.Plan(id, wanted, attempts, broken);
            return Decision.Made;
        }

        if (LengthensPattern(domain, wanted, key))
        {
            if (index < 0)
            {
                // The pages behind this one are to follow it.
                return Decision.NeedsBytesNow;
            }

            bool made = domain.TryMakeAt(key, wanted);
            Invariant.Check(made);
            QueueWrite(domain, wanted, index);
            pages.Plan(id, wanted, attempts, broken);
            return Decision.Made;
        }

        if (domain.TryFind(key, state.Knobs.MappingsMax, out uint slot))
        {
            pages.Plan(id, slot, attempts, broken);
            return Decision.Made;
        }

        Span<uint> equal = stackalloc uint[SameKeyMax];
        equal = equal[..state.Unstable.Find(key, equal)];
        int partners = KeepPartners(equal, pages, id, out bool elsewhere);
        if (partners == 0)
        {
            elsewhere = elsewhere || IsStableElsewhere(pages.Domain, key);
            pages.Change(ref state.Pages[id], PageWord.Candidate(key, elsewhere, broken));
            state.Unstable.Add(key, id);
            return Decision.Made;
        }

        if (index < 0)
        {
            return Decision.NeedsBytes;
        }

        Promote(pages, id, key, broken, attempts, equal[..partners], index);
        return Decision.Made;
    }

    // A stretch of memory that repeats one page (filled with a pattern) would need a mapping for each page, since
    // they all come from the same slot, and a process has only 65,530. So a store page that is mapped often gets a twin
    // in the slot behind it, for the page behind: of n pages the store then keeps about the root of n/16, and
    // the process needs as many mappings, times 16.
    private bool LengthensPattern(MergeDomain domain, uint wanted, ulong key) =>
        wanted is not (PageWord.ZeroSlot or 0) && domain.Slots.KeyOf(wanted - 1) == key
        && domain.Slots.Mappings(wanted - 1) >= PatternMappings && domain.CanMakeAt(wanted) && state.HasRoom;

    /// <summary>Makes a store page out of a page and its partners of the unstable tree.</summary>
    private void Promote(
        TargetPages pages,
        uint id,
        ulong key,
        bool broken,
        int attempts,
        ReadOnlySpan<uint> partners,
        int index)
    {
        if (!state.HasRoom || !pages.Domain.TryMake(key, out uint slot))
        {
            pages.Fail(id, NotMergedReason.MaxKernelPages, 0, broken);
            return;
        }

        QueueWrite(pages.Domain, slot, index);
        pages.Plan(id, slot, attempts, broken);
        foreach (uint partner in partners)
        {
            if (pages.Domain.Slots.Mappings(slot) < state.Knobs.MappingsMax)
            {
                state.Unstable.Remove(key, partner);
                bool partnerBroken = new PageWord(state.Pages[partner]).IsBroken;
                state.TargetOf(partner)!.Pages.Plan(partner, slot, 0, partnerBroken);
            }
        }
    }

    private void QueueWrite(MergeDomain domain, uint slot, int index)
    {
        if (_writeCount > 0 && (slot != _writeSlot + (uint)_writeCount || index != _writeFirst + _writeCount))
        {
            FlushWrites(domain);
        }

        if (_writeCount == 0)
        {
            (_writeFirst, _writeSlot) = (index, slot);
        }

        _writeCount++;
    }

    /// <summary>Moves the ids that are partners (other pages of the same domain) to the front.</summary>
    private int KeepPartners(Span<uint> equal, TargetPages pages, uint id, out bool elsewhere)
    {
        int partners = 0;
        elsewhere = false;
        foreach (uint other in equal)
        {
            if (other == id || state.TargetOf(other) is not { } owner)
            {
                continue;
            }

            if (owner.Pages.Domain == pages.Domain)
            {
                equal[partners++] = other;
                continue;
            }

            elsewhere = true;
            ref ulong word = ref state.Pages[other];
            var known = new PageWord(word);
            owner.Pages.Change(ref word, PageWord.Candidate(known.Key, true, known.IsBroken));
        }

        return partners;
    }

    private bool IsStableElsewhere(MergeDomain own, ulong key)
    {
        int looked = 0;
        foreach (MergeDomain domain in state.Domains)
        {
            if (domain == own)
            {
                continue;
            }

            if (looked++ == OtherDomainsMax)
            {
                break;
            }

            if (domain.TryFind(key, int.MaxValue, out _))
            {
                return true;
            }
        }

        return false;
    }

    // The slot behind that of the page before: taking it makes the run longer.
    private uint SlotAfterNeighbour(uint id)
    {
        if ((id & PageTable.OffsetMask) == 0)
        {
            return PageWord.ZeroSlot;
        }

        var before = new PageWord(state.Pages[id - 1]);
        return before.State is PageState.Merged or PageState.Planned && before.Slot != PageWord.ZeroSlot
            ? before.Slot + 1
            : PageWord.ZeroSlot;
    }
}
