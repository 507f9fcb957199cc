using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Samepage;

/// <summary>
/// The pages of one target: which chunks hold their words, how many are in which state, and the queues of pages
/// something has still to happen to. Every change of a word goes through <see cref="Change"/>, so the counts are true.
/// </summary>
internal sealed class TargetPages(PageTable table, MergeDomain domain, int index, Knobs knobs)
{
    private static readonly int States = Enum.GetValues<PageState>().Length;

    private readonly Dictionary<ulong, uint> _chunks = [];
    private readonly long[] _counts = new long[States];
    private readonly long[] _reasons = new long[NotMergedReasonNames.Count];
    private readonly ByFirstPage _order = new(table);
    private uint[] _sorted = [];
    private int _sortedCount = -1;
    private ulong _lastBase = ulong.MaxValue;
    private uint _lastChunk;

    /// <summary>Number of the target, by which chunks name it.</summary>
    public int Index { get; } = index;

    public MergeDomain Domain { get; } = domain;

    /// <summary>
    /// Pages listed in the present pass, which wait for the next one to show that nobody writes them.
    /// </summary>
    public PageRunList Fresh { get; private set; } = new();

    /// <summary>Pages that were <see cref="Fresh"/> in the pass before.</summary>
    public PageRunList Waiting { get; private set; } = new();

    /// <summary>Pages that could not be merged and are to be tried again.</summary>
    public PageRunList Retry { get; private set; } = new();

    /// <summary>The list that is being gone through while pages that fail again go into <see cref="Retry"/>.</summary>
    public PageRunList Retrying { get; private set; } = new();

    /// <summary>Pages that were known when everything was forgotten; most likely still there.</summary>
    public PageRunList Stale { get; } = new();

    /// <summary>Pages whose sample was not enough to decide about them: they are to be read.</summary>
    public PageRunList Unread { get; } = new();

    /// <summary>Chunks with planned pages, in the order they were planned.</summary>
    public List<uint> Dirty { get; } = [];

    /// <summary>Pages planned and not executed yet.</summary>
    public long PlannedCount => _counts[(int)PageState.Planned];

    /// <summary>Pages merged since registration, ever.</summary>
    public long MergedEver { get; set; }

    /// <summary>Zero pages taken away since registration, ever.</summary>
    public long ZeroedEver { get; set; }

    /// <summary>Parity of the present pass.</summary>
    public bool Parity { get; private set; }

    public ReadOnlySpan<long> Reasons => _reasons;

    // An entry of the dictionary is 24 bytes and a bucket of 4 bytes.
    public long Bytes =>
        (_chunks.Capacity * 28L) + (_sorted.Length * 4L) + (Dirty.Capacity * 4L)
        + Fresh.Bytes + Waiting.Bytes + Retry.Bytes + Retrying.Bytes + Stale.Bytes + Unread.Bytes
        + ((_counts.Length + _reasons.Length) * 8L);

    public long CountOf(PageState state) => _counts[(int)state];

    /// <summary>Pages that have no partner as far as we know: what KSM calls unshared.</summary>
    public long Unshared => CountOf(PageState.Candidate) + CountOf(PageState.Sampled);

    /// <summary>Known pages that are in no tree.</summary>
    public long Volatile => CountOf(PageState.Fresh) + CountOf(PageState.Unmergeable);

    /// <summary>A new pass begins: what was listed in the last one has waited.</summary>
    public void BeginPass()
    {
        Invariant.Check(Waiting.IsEmpty);
        (Fresh, Waiting) = (Waiting, Fresh);
        Parity = !Parity;
    }

    /// <summary>All pages to be tried again are taken into <see cref="Retrying"/>.</summary>
    public void BeginRetry()
    {
        if (Retrying.IsEmpty)
        {
            (Retry, Retrying) = (Retrying, Retry);
        }
    }

    public bool TryFindChunk(ulong page, out uint chunk)
    {
        ulong chunkBase = page >> PageTable.ChunkShift;
        if (chunkBase == _lastBase)
        {
            chunk = _lastChunk;
            return true;
        }

        if (!_chunks.TryGetValue(chunkBase, out chunk))
        {
            return false;
        }

        _lastBase = chunkBase;
        _lastChunk = chunk;
        return true;
    }

    /// <summary>The id of a page, whose chunk is made when there is none yet.</summary>
    public uint IdOf(ulong page)
    {
        if (!TryFindChunk(page, out uint chunk))
        {
            chunk = table.Allocate(Index, page & ~(ulong)PageTable.OffsetMask);
            _chunks.Add(page >> PageTable.ChunkShift, chunk);
            _sortedCount = -1;
        }

        return (chunk << PageTable.ChunkShift) | ((uint)page & PageTable.OffsetMask);
    }

    /// <summary>The chunks in address order; valid until the next chunk is made or freed.</summary>
    public ReadOnlySpan<uint> SortedChunks()
    {
        if (_sortedCount != _chunks.Count)
        {
            if (_sorted.Length < _chunks.Count)
            {
                _sorted = new uint[_chunks.Count + (_chunks.Count / 8)];
            }

            _chunks.Values.CopyTo(_sorted, 0);
            _sortedCount = _chunks.Count;
            Sort(_sorted.AsSpan(0, _sortedCount));
        }

        return _sorted.AsSpan(0, _sortedCount);
    }

    /// <summary>Sorts <see cref="Dirty"/> by address, so that what is planned is executed in long runs.</summary>
    public ReadOnlySpan<uint> SortedDirty()
    {
        Span<uint> dirty = CollectionsMarshal.AsSpan(Dirty);
        Sort(dirty);
        return dirty;
    }

    /// <summary>Gives a word another value and keeps the counts. Does not touch mappings of slots.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Change(ref ulong word, PageWord value)
    {
        Count(new PageWord(word), -1);
        Count(value, 1);
        word = value.Bits;
    }

    /// <summary>That many words of Unknown pages were given the state Sampled.</summary>
    public void CountSampled(int pages)
    {
        _counts[(int)PageState.Unknown] -= pages;
        _counts[(int)PageState.Sampled] += pages;
    }

    /// <summary>Gives a word another value; a slot it was mapped from (or planned to be) loses a mapping.</summary>
    public void Leave(ref ulong word, PageWord value)
    {
        var old = new PageWord(word);
        if (old.State is PageState.Merged or PageState.Planned && old.Slot != PageWord.ZeroSlot)
        {
            Domain.DropMapping(old.Slot, MappingsMax);
        }

        Change(ref word, value);
    }

    /// <summary>Plans that a page goes to a slot (or away, <see cref="PageWord.ZeroSlot"/>).</summary>
    public void Plan(uint id, uint slot, int attempts, bool broken) =>
        Plan(id, PageWord.Planned(slot, attempts, broken));

    /// <summary>The same, with the word it is to have.</summary>
    public void Plan(uint id, PageWord plan)
    {
        if (plan.Slot != PageWord.ZeroSlot)
        {
            Domain.AddMapping(plan.Slot, MappingsMax);
        }

        Change(ref table[id], plan);
        if (table.MarkDirty(id >> PageTable.ChunkShift))
        {
            Dirty.Add(id >> PageTable.ChunkShift);
        }
    }

    /// <summary>A page could not be merged: remembered with the reason, and to be tried again.</summary>
    public void Fail(uint id, NotMergedReason reason, int attempts, bool broken)
    {
        Leave(ref table[id], PageWord.Unmergeable(reason, attempts, broken));
        Retry.Add(id);
    }

    /// <summary>
    /// Forgets what is known about the content of every page (none is merged). The machine lists a page once and not
    /// again before it is written, so the pages that were known are remembered in <see cref="Stale"/>, and nothing
    /// else about them. The caller clears the unstable tree.
    /// </summary>
    public void ForgetContents()
    {
        Fresh.Reset();
        Waiting.Reset();
        Retry.Reset();
        Retrying.Reset();
        while (Unread.TryTake(out uint id))
        {
            if (table.TargetOf(id) == Index && new PageWord(table[id]).State == PageState.Unknown)
            {
                Stale.Add(id);
            }
        }

        foreach (uint chunk in SortedChunks())
        {
            Span<ulong> words = table.Words(chunk);
            for (int i = 0; i < words.Length; i++)
            {
                var word = new PageWord(words[i]);
                if (word.State is PageState.Fresh or PageState.Candidate or PageState.Sampled
                    or PageState.Unmergeable)
                {
                    Change(ref words[i], PageWord.Unknown(word.IsBroken));
                    Stale.Add((chunk << PageTable.ChunkShift) + (uint)i);
                }
            }
        }
    }

    /// <summary>Scanning goes on after <see cref="ForgetContents"/>: what was known is to be looked at.</summary>
    public void RecallStale()
    {
        if (Stale.IsEmpty)
        {
            return;
        }

        while (Stale.TryTake(out uint id))
        {
            // It may have been listed and read meanwhile, or its chunk given back with its region.
            if (table.TargetOf(id) == Index && new PageWord(table[id]).State == PageState.Unknown)
            {
                Fail(id, NotMergedReason.ContentChanged, 0, new PageWord(table[id]).IsBroken);
            }
        }

        BeginRetry();
    }

    /// <summary>Forgets the pages outside <paramref name="spans"/> (sorted, disjoint).</summary>
    public void ForgetOutside(ReadOnlySpan<PageRange> spans)
    {
        int span = 0;
        // Backwards would do as well; the copy is needed because freeing a chunk invalidates the sorted list.
        foreach (uint chunk in SortedChunks().ToArray())
        {
            ulong first = table.FirstPage(chunk);
            ulong end = first + PageTable.ChunkPages;
            while (span < spans.Length && spans[span].End <= first)
            {
                span++;
            }

            ulong page = first;
            for (int i = span; i < spans.Length && spans[i].Start < end; i++)
            {
                ForgetPages(chunk, page, Math.Max(page, spans[i].Start));
                page = Math.Max(page, Math.Min(end, spans[i].End));
            }

            ForgetPages(chunk, page, end);
            if (!table.Words(chunk).ContainsAnyExcept(0ul) && !Dirty.Contains(chunk))
            {
                FreeChunk(chunk, first);
            }
        }
    }

    /// <summary>Forgets everything.</summary>
    public void ForgetAll()
    {
        foreach (uint chunk in SortedChunks().ToArray())
        {
            ulong first = table.FirstPage(chunk);
            ForgetPages(chunk, first, first + PageTable.ChunkPages);
            FreeChunk(chunk, first);
        }

        Dirty.Clear();
        Fresh.Reset();
        Waiting.Reset();
        Retry.Reset();
        Retrying.Reset();
        Stale.Reset();
        Unread.Reset();
    }

    private int MappingsMax => knobs.MappingsMax;

    private void ForgetPages(uint chunk, ulong from, ulong to)
    {
        if (from >= to)
        {
            return;
        }

        Span<ulong> words = table.Words(chunk);
        ulong first = table.FirstPage(chunk);
        for (int i = (int)(from - first); i < (int)(to - first); i++)
        {
            if (words[i] != 0)
            {
                Leave(ref words[i], default);
            }
        }
    }

    private void FreeChunk(uint chunk, ulong first)
    {
        table.Free(chunk);
        _chunks.Remove(first >> PageTable.ChunkShift);
        _sortedCount = -1;
        _lastBase = ulong.MaxValue;
    }

    private void Sort(Span<uint> chunks) => chunks.Sort(_order);

    private void Count(PageWord word, int by)
    {
        _counts[(int)word.State] += by;
        if (word.State == PageState.Unmergeable)
        {
            _reasons[(int)word.Reason] += by;
        }
        else if (word.State == PageState.Candidate && word.Flag)
        {
            _reasons[(int)NotMergedReason.OtherDomain] += by;
        }
    }

    private sealed class ByFirstPage(PageTable table) : IComparer<uint>
    {
        public int Compare(uint x, uint y) => table.FirstPage(x).CompareTo(table.FirstPage(y));
    }
}
