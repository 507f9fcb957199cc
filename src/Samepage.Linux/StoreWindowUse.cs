using System.Numerics;

namespace Samepage.Linux;

/// <summary>
/// Which parts of a target's store window may have page-table entries. Comparing fills them; the kernel maps the pages
/// around a fault as well, 16 at a time, but never beyond the 2 MiB of one page table. They are kept from one stop window to the
/// next, because neighbours are looked at soon, and dropping a range that covers a page table frees that, too. But they
/// count as the target's resident memory, so they must not stay.
/// </summary>
internal sealed class StoreWindowUse
{
    private const int RegionShift = 9, BlockShift = 4;
    private const int RangesMax = 128;

    // A bit for each 16 pages of the page tables from _base on; a store is filled from its beginning.
    private uint[] _blocks = [];
    private ulong _base;
    private PageRange? _unknown;

    /// <summary>About how many pages have entries: exact where the kernel maps 16 pages around a fault, as it does by
    /// default.</summary>
    public long Pages { get; private set; }

    /// <summary>True when nothing has entries.</summary>
    public bool IsEmpty => Pages == 0;

    /// <summary>Pages, as page numbers of the target's address space, are going to be looked at.</summary>
    public void Touch(ulong page, uint count)
    {
        if (_unknown is not null)
        {
            return;
        }

        for (ulong block = page >> BlockShift; block <= (page + count - 1) >> BlockShift; block++)
        {
            ref uint blocks = ref BlocksOf(block >> (RegionShift - BlockShift));
            uint bit = 1u << (int)(block & ((1 << (RegionShift - BlockShift)) - 1));
            if ((blocks & bit) == 0)
            {
                blocks |= bit;
                Pages += 1 << BlockShift;
            }
        }
    }

    /// <summary>Nobody knows what an earlier daemon has left in there.</summary>
    public void TouchAll(PageRange window)
    {
        Clear();
        _unknown = window;
        Pages = (long)window.Count;
    }

    /// <summary>Everything that has entries, within the window: from the first such place to the last.</summary>
    public PageRange Extent(PageRange window)
    {
        if (_unknown is not null || IsEmpty)
        {
            return _unknown ?? default;
        }

        int first = _blocks.AsSpan().IndexOfAnyExcept(0u), last = _blocks.AsSpan().LastIndexOfAnyExcept(0u);
        return Regions(window, first, last - first + 1);
    }

    /// <summary>The next places to drop, in ranges of whole page tables, about <paramref name="pages"/> of them.</summary>
    public List<PageRange> Take(PageRange window, long pages)
    {
        List<PageRange> ranges = [];
        if (_unknown is { } all)
        {
            Clear();
            return [all];
        }

        long left = Pages - pages;
        for (int i = 0; i < _blocks.Length && Pages > Math.Max(left, 0) && ranges.Count < RangesMax; i++)
        {
            if (_blocks[i] == 0)
            {
                continue;
            }

            Pages -= (long)BitOperations.PopCount(_blocks[i]) << BlockShift;
            _blocks[i] = 0;
            PageRange region = Regions(window, i, 1);
            if (ranges.Count > 0 && ranges[^1].End == region.Start)
            {
                ranges[^1] = new PageRange(ranges[^1].Start, region.End);
            }
            else
            {
                ranges.Add(region);
            }
        }

        return ranges;
    }

    /// <summary>Nothing has entries any more.</summary>
    public void Clear()
    {
        _blocks = [];
        _unknown = null;
        Pages = 0;
    }

    private PageRange Regions(PageRange window, int first, int count)
    {
        ulong start = (_base + (ulong)first) << RegionShift;
        ulong end = start + ((ulong)count << RegionShift);
        return new PageRange(Math.Max(start, window.Start), Math.Min(end, window.End));
    }

    private ref uint BlocksOf(ulong region)
    {
        if (IsEmpty)
        {
            _base = region;
        }

        ulong first = Math.Min(_base, region), end = Math.Max(_base + (ulong)_blocks.Length, region + 1);
        if (end - first > (ulong)_blocks.Length)
        {
            // Exactly as much as is needed, four bytes for 2 MiB of store: to double would double at every step downwards.
            uint[] larger = new uint[end - first];
            Array.Copy(_blocks, 0, larger, (int)(_base - first), _blocks.Length);
            (_blocks, _base) = (larger, first);
        }

        return ref _blocks[region - _base];
    }
}
