namespace Samepage.Linux.Proc;

/// <summary>What a mapping is to the merger.</summary>
internal enum SegmentKind : byte
{
    /// <summary>Private anonymous memory that may be merged.</summary>
    Anonymous,

    /// <summary>Mapped privately from the store: merged, or merged once and written since.</summary>
    Merged,

    /// <summary>Not to be merged; <see cref="VmaSegment.Reason"/> says why.</summary>
    NotMerged,

    /// <summary>A mapping this program made for itself in the target.</summary>
    Own,
}

/// <summary>Properties that a mapping loses when another is put in its place, so they have to be set again.</summary>
[Flags]
internal enum VmaAdvice : byte
{
    None = 0,
    DontFork = 1,       // MADV_DONTFORK
    DontDump = 2,       // MADV_DONTDUMP
    HugePage = 4,       // MADV_HUGEPAGE
    NoHugePage = 8,     // MADV_NOHUGEPAGE
    Mergeable = 16,     // MADV_MERGEABLE
    RandomRead = 32,    // MADV_RANDOM
    SequentialRead = 64, // MADV_SEQUENTIAL
    NoReserve = 128,    // MAP_NORESERVE
}

/// <summary>One mapping, classified.</summary>
internal struct VmaSegment
{
    /// <summary>Its pages.</summary>
    internal PageRange Range;

    /// <summary>Resident pages when smaps was last read; 0 for mappings split off since.</summary>
    internal ulong ResidentPages;

    /// <summary>The file; inode 0 without one. For telling that a known mapping has been replaced by another.</summary>
    internal FileIdentity File;

    /// <summary>Slot of the first page where <see cref="Kind"/> is <see cref="SegmentKind.Merged"/>.</summary>
    internal uint Slot;

    /// <summary>What it is.</summary>
    internal SegmentKind Kind;

    /// <summary>Why it is not merged.</summary>
    internal NotMergedReason Reason;

    /// <summary>Protection.</summary>
    internal VmaProtection Protection;

    /// <summary>What has to be set again after replacing it.</summary>
    internal VmaAdvice Advice;

    /// <summary>True for MAP_SHARED.</summary>
    internal bool IsShared;

    /// <summary>True when the pages belong to <see cref="VmaTable.Regions"/>.</summary>
    internal readonly bool IsMergeable => Kind is SegmentKind.Anonymous or SegmentKind.Merged;
}

/// <summary>The mappings of a process in address order, and what follows from them.</summary>
internal sealed class VmaTable
{
    private readonly Rows<VmaSegment> _segments = new();
    private int _found;
    private readonly List<PageRange> _regions = [];
    private readonly long[] _notMerged = new long[Enum.GetValues<NotMergedReason>().Length];

    /// <summary>All mappings, sorted and disjoint.</summary>
    internal ReadOnlySpan<VmaSegment> Segments => _segments.All;

    /// <summary>
    /// Mergeable address space: neighbouring mergeable mappings joined. Two anonymous neighbours with different
    /// protection or advice stay apart, so that one run never crosses them; merged mappings join either side.
    /// </summary>
    internal IReadOnlyList<PageRange> Regions => _regions;

    /// <summary>Resident pages outside the regions by <see cref="NotMergedReason"/>.</summary>
    internal ReadOnlySpan<long> NotMergedPages => _notMerged;

    /// <summary>Number of mappings.</summary>
    internal int VmaCount => _segments.Count;

    /// <summary>The mapping a page lies in.</summary>
    internal bool TryFind(ulong page, out VmaSegment segment)
    {
        // Pages are asked for in address order: mostly it is the mapping found last.
        if (_found >= _segments.Count || !_segments[_found].Range.Contains(page))
        {
            _found = IndexOf(page);
        }

        if (_found < _segments.Count && _segments[_found].Range.Contains(page))
        {
            segment = _segments[_found];
            return true;
        }

        segment = default;
        return false;
    }

    /// <summary>Index in <see cref="Segments"/> of the first mapping that ends after a page.</summary>
    internal int IndexOf(ulong page) => IndexOf(page, _segments.Count);

    private int IndexOf(ulong page, int count)
    {
        ReadOnlySpan<VmaSegment> segments = _segments.All;
        int low = 0, high = count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (segments[middle].Range.End <= page)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    /// <summary>
    /// Enters what was merged since the table was read: runs in address order, each inside one anonymous mapping; others are
    /// left out. Regions stay as they are, since merged mappings belong to the same ones.
    /// </summary>
    internal void ApplyMerged(ReadOnlySpan<SharedRun> runs)
    {
        // From behind and no further than the first run: what lies before that stays where it is, what lies behind the last
        // one is moved at once. Between known and free is the room that is left.
        int known = _segments.Count;
        _segments.SetCount(known + (2 * runs.Length));
        int free = _segments.Count;
        for (int i = runs.Length - 1; i >= 0; i--)
        {
            SharedRun run = runs[i];
            var pages = new PageRange(run.Start, run.Start + run.Count);
            int index = IndexOf(pages.Start, known);
            if (index == known || _segments[index] is not { Kind: SegmentKind.Anonymous } whole
                || pages.Start < whole.Range.Start || pages.End > whole.Range.End)
            {
                continue;
            }

            MoveBehind(index, ref known, ref free);
            if (pages.End < whole.Range.End)
            {
                _segments[--free] = whole with { Range = new PageRange(pages.End, whole.Range.End) };
            }

            _segments[--free] = whole with { Range = pages, Kind = SegmentKind.Merged, Slot = run.Slot, ResidentPages = 0 };
            if (pages.Start > whole.Range.Start)
            {
                _segments[index] = whole with { Range = new PageRange(whole.Range.Start, pages.Start), ResidentPages = 0 };
                known++;
            }
        }

        int moved = _segments.Count - free;
        _segments.Move(free, known, moved);
        _segments.SetCount(known + moved);
    }

    /// <summary>Moves what lies behind a mapping to the end of the room; that mapping is the caller's to put back.</summary>
    private void MoveBehind(int index, ref int known, ref int free)
    {
        int behind = known - index - 1;
        free -= behind;
        _segments.Move(index + 1, free, behind);
        known = index;
    }

    internal void Clear()
    {
        _segments.Clear();
        _regions.Clear();
        Array.Clear(_notMerged);
    }

    /// <summary>Appends a mapping; one out of order is refused.</summary>
    internal bool Add(in VmaSegment segment)
    {
        if (segment.Range.IsEmpty || (_segments.Count > 0 && segment.Range.Start < _segments[_segments.Count - 1].Range.End))
        {
            return false;
        }

        _segments.Add(segment);
        if (segment.Kind == SegmentKind.NotMerged)
        {
            _notMerged[(int)segment.Reason] += (long)segment.ResidentPages;
        }

        return true;
    }

    /// <summary>Builds <see cref="Regions"/> from the mappings added.</summary>
    internal void BuildRegions()
    {
        _regions.Clear();
        VmaSegment? lastAnonymous = null;
        foreach (ref readonly VmaSegment segment in Segments)
        {
            if (!segment.IsMergeable)
            {
                lastAnonymous = null;
                continue;
            }

            bool adjacent = _regions.Count > 0 && _regions[^1].End == segment.Range.Start;
            lastAnonymous = adjacent ? lastAnonymous : null;
            bool alike = segment.Kind == SegmentKind.Merged || lastAnonymous is not { } last ||
                (last.Protection == segment.Protection && last.Advice == segment.Advice);
            if (adjacent && alike)
            {
                _regions[^1] = new PageRange(_regions[^1].Start, segment.Range.End);
            }
            else
            {
                _regions.Add(segment.Range);
            }

            lastAnonymous = segment.Kind == SegmentKind.Anonymous ? segment : lastAnonymous;
        }
    }
}
