namespace Samepage.Linux.Interception;

/// <summary>Pages of one address space as sorted, disjoint spans that do not touch. Adding and removing take time
/// by the number of spans.</summary>
internal sealed class PageSet
{
    private readonly List<PageRange> _spans = [];

    internal IReadOnlyList<PageRange> Spans => _spans;

    internal bool IsEmpty => _spans.Count == 0;

    /// <summary>Adds pages.</summary>
    /// <returns>False when they were all there.</returns>
    internal bool Add(PageRange pages)
    {
        if (pages.IsEmpty)
        {
            return false;
        }

        int first = FirstEndingAtOrAfter(pages.Start);
        int next = first;
        while (next < _spans.Count && _spans[next].Start <= pages.End)
        {
            next++;
        }

        if (next == first + 1 && _spans[first].Start <= pages.Start && _spans[first].End >= pages.End)
        {
            return false;
        }

        var joined = next == first
            ? pages
            : new PageRange(Math.Min(pages.Start, _spans[first].Start), Math.Max(pages.End, _spans[next - 1].End));
        _spans.RemoveRange(first, next - first);
        _spans.Insert(first, joined);
        return true;
    }

    /// <summary>Removes pages.</summary>
    /// <returns>False when none was there.</returns>
    internal bool Remove(PageRange pages)
    {
        int first = FirstEndingAtOrAfter(pages.Start + 1);
        int next = first;
        while (next < _spans.Count && _spans[next].Start < pages.End)
        {
            next++;
        }

        if (next == first || pages.IsEmpty)
        {
            return false;
        }

        var before = new PageRange(_spans[first].Start, Math.Max(_spans[first].Start, pages.Start));
        var after = new PageRange(Math.Min(_spans[next - 1].End, pages.End), _spans[next - 1].End);
        _spans.RemoveRange(first, next - first);
        if (!after.IsEmpty)
        {
            _spans.Insert(first, after);
        }

        if (!before.IsEmpty)
        {
            _spans.Insert(first, before);
        }

        return true;
    }

    internal void Clear() => _spans.Clear();

    /// <summary>The spans' parts inside <paramref name="pages"/>.</summary>
    internal IEnumerable<PageRange> Within(PageRange pages)
    {
        for (int i = FirstEndingAtOrAfter(pages.Start + 1); i < _spans.Count && _spans[i].Start < pages.End; i++)
        {
            PageRange part = _spans[i].Intersect(pages);
            if (!part.IsEmpty)
            {
                yield return part;
            }
        }
    }

    /// <summary>What lies between the spans, up to <paramref name="end"/>.</summary>
    internal IEnumerable<PageRange> Gaps(ulong end)
    {
        ulong at = 0;
        foreach (PageRange span in _spans)
        {
            if (span.Start > at)
            {
                yield return new PageRange(at, span.Start);
            }

            at = span.End;
        }

        if (at < end)
        {
            yield return new PageRange(at, end);
        }
    }

    private int FirstEndingAtOrAfter(ulong page)
    {
        int low = 0, high = _spans.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_spans[middle].End < page)
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
}
