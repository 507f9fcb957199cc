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
    private readonly SortedDictionary<ulong, uint> _blocks = [];
    private PageRange? _unknown;

    /// <summary>About how many pages have entries: exact where the kernel maps 16 pages around a fault, as it does by
    /// default.</summary>
    public long Pages { get; private set; }

    /// <summary>True when nothing has entries.</summary>
    public bool IsEmpty => _blocks.Count == 0 && _unknown is null;

    /// <summary>Pages, as page numbers of the target's address space, are going to be looked at.</summary>
    public void Touch(ulong page, uint count)
    {
        if (_unknown is not null)
        {
            return;
        }

        for (ulong block = page >> BlockShift; block <= (page + count - 1) >> BlockShift; block++)
        {
            ulong region = block >> (RegionShift - BlockShift);
            uint bit = 1u << (int)(block & ((1 << (RegionShift - BlockShift)) - 1));
            _ = _blocks.TryGetValue(region, out uint blocks);
            if ((blocks & bit) == 0)
            {
                _blocks[region] = blocks | bit;
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

        ulong start = _blocks.First().Key << RegionShift, end = (_blocks.Last().Key + 1) << RegionShift;
        return new PageRange(Math.Max(start, window.Start), Math.Min(end, window.End));
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

        long taken = 0;
        foreach ((ulong region, uint blocks) in _blocks.ToArray())
        {
            if (taken >= pages || ranges.Count == RangesMax)
            {
                break;
            }

            long here = (long)System.Numerics.BitOperations.PopCount(blocks) << BlockShift;
            taken += here;
            Pages -= here;
            _ = _blocks.Remove(region);
            ulong start = Math.Max(region << RegionShift, window.Start);
            ulong end = Math.Min((region + 1) << RegionShift, window.End);
            if (ranges.Count > 0 && ranges[^1].End == start)
            {
                ranges[^1] = new PageRange(ranges[^1].Start, end);
            }
            else
            {
                ranges.Add(new PageRange(start, end));
            }
        }

        return ranges;
    }

    /// <summary>Nothing has entries any more.</summary>
    public void Clear()
    {
        _blocks.Clear();
        _unknown = null;
        Pages = 0;
    }
}
