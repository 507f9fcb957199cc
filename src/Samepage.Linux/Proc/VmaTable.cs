using System.Runtime.InteropServices;

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
    private readonly List<VmaSegment> _segments = [];
    private readonly List<PageRange> _regions = [];
    private readonly long[] _notMerged = new long[Enum.GetValues<NotMergedReason>().Length];

    /// <summary>All mappings, sorted and disjoint.</summary>
    internal ReadOnlySpan<VmaSegment> Segments => CollectionsMarshal.AsSpan(_segments);

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
        int i = IndexOf(page);
        if (i < _segments.Count && _segments[i].Range.Contains(page))
        {
            segment = _segments[i];
            return true;
        }

        segment = default;
        return false;
    }

    /// <summary>Index in <see cref="Segments"/> of the first mapping that ends after a page.</summary>
    internal int IndexOf(ulong page)
    {
        ReadOnlySpan<VmaSegment> segments = Segments;
        int low = 0, high = segments.Length;
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
    /// Enters what was merged since the table was read: runs in address order, each inside one anonymous mapping. Regions
    /// stay as they are, since merged mappings belong to the same ones.
    /// </summary>
    internal void ApplyMerged(List<SharedRun> runs)
    {
        if (runs.Count == 0)
        {
            return;
        }

        var segments = new List<VmaSegment>(_segments.Count + 2 * runs.Count);
        int next = 0;
        foreach (VmaSegment known in _segments)
        {
            VmaSegment rest = known;
            while (next < runs.Count && runs[next].Start < rest.Range.End)
            {
                SharedRun run = runs[next++];
                var pages = new PageRange(run.Start, run.Start + run.Count);
                if (rest.Kind != SegmentKind.Anonymous || pages.Start < rest.Range.Start || pages.End > rest.Range.End)
                {
                    continue;
                }

                if (pages.Start > rest.Range.Start)
                {
                    segments.Add(rest with { Range = new PageRange(rest.Range.Start, pages.Start), ResidentPages = 0 });
                }

                segments.Add(rest with { Range = pages, Kind = SegmentKind.Merged, Slot = run.Slot, ResidentPages = 0 });
                rest.Range = new PageRange(pages.End, rest.Range.End);
            }

            if (!rest.Range.IsEmpty)
            {
                segments.Add(rest);
            }
        }

        _segments.Clear();
        _segments.AddRange(segments);
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
        if (segment.Range.IsEmpty || (_segments.Count > 0 && segment.Range.Start < _segments[^1].Range.End))
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
