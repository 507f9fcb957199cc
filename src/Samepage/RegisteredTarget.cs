using System.Runtime.InteropServices;

namespace Samepage;

/// <summary>One target under the engine's care, with what the engine knows about its pages.</summary>
public sealed class RegisteredTarget
{
    private readonly EngineState _state;
    private readonly List<PageRange> _spans = [];
    private readonly List<PageRange> _before = [];
    private bool _rangesChanged;

    internal RegisteredTarget(
        EngineState state, ITarget target, MergeDomain domain, IReadOnlyList<PageRange>? ranges)
    {
        _state = state;
        Target = target;
        Domain = domain.Name;
        Ranges = ranges;
        Pages = new TargetPages(state.Pages, domain, state.FreeIndex(), state.Knobs);
        Notices = new PassNotices(target, domain.Name);
    }

    /// <summary>The address space.</summary>
    public ITarget Target { get; }

    /// <summary>Trust domain: pages are shared only inside one.</summary>
    public string Domain { get; }

    /// <summary>What was asked for: sorted, disjoint spans, or null for everything mergeable.</summary>
    public IReadOnlyList<PageRange>? Ranges { get; private set; }

    /// <summary>What the engine knows about the pages.</summary>
    internal TargetPages Pages { get; }

    /// <summary>What passes tell the target's notifiers.</summary>
    internal PassNotices Notices { get; }

    /// <summary>Mergeable regions inside <see cref="Ranges"/>: sorted, disjoint.</summary>
    internal List<PageRange> Spans => _spans;

    /// <summary>Where scanning stands.</summary>
    internal ScanCursor Cursor { get; } = new();

    /// <summary>Passes begun.</summary>
    internal long Passes { get; set; }

    /// <summary>It could not be stopped, or is gone: nothing more is executed in it before the next round.</summary>
    internal bool IsStuck { get; set; }

    /// <summary>Pages in the spans, present or not.</summary>
    internal long RegisteredPages { get; private set; }

    internal long MetadataBytes =>
        Pages.Bytes + ((_spans.Capacity + _before.Capacity) * 16L) + ScanCursor.Bytes;

    /// <summary>A snapshot of the target's counters.</summary>
    public TargetStatus Status() => StatusReader.Read(_state, this);

    /// <summary>Pages that are mapped from the domain's store, in address order, consecutive ones put together.</summary>
    public IReadOnlyList<SharedRun> SharedRuns()
    {
        var runs = new List<SharedRun>();
        foreach (uint chunk in Pages.SortedChunks())
        {
            ReadOnlySpan<ulong> words = _state.Pages.Words(chunk);
            ulong first = _state.Pages.FirstPage(chunk);
            for (int i = 0; i < words.Length; i++)
            {
                var word = new PageWord(words[i]);
                if (word.State != PageState.Merged)
                {
                    continue;
                }

                ulong page = first + (uint)i;
                if (runs.Count > 0 && runs[^1] is var last && last.Start + last.Count == page
                    && last.Slot + last.Count == word.Slot)
                {
                    runs[^1] = last with { Count = last.Count + 1 };
                }
                else
                {
                    runs.Add(new SharedRun(page, 1, word.Slot));
                }
            }
        }

        return runs;
    }

    /// <summary>True when the page is under care.</summary>
    internal bool Covers(ulong page)
    {
        int low = 0;
        int high = _spans.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            if (_spans[middle].Contains(page))
            {
                return true;
            }

            if (page < _spans[middle].Start)
            {
                high = middle - 1;
            }
            else
            {
                low = middle + 1;
            }
        }

        return false;
    }

    /// <summary>
    /// Looks at the target's regions again. Pages whose region is gone are forgotten; the spans that are new are given
    /// to <paramref name="added"/> (they may hold merged pages: moved there by mremap, or an earlier daemon's).
    /// </summary>
    internal void Refresh(bool force, List<PageRange> added)
    {
        added.Clear();
        if (!Target.RefreshRegions(force) && _spans.Count > 0 && !_rangesChanged)
        {
            return;
        }

        _rangesChanged = false;
        _before.Clear();
        _before.AddRange(_spans);
        IntersectSpans();
        if (_before.Count == _spans.Count
            && CollectionsMarshal.AsSpan(_before).SequenceEqual(CollectionsMarshal.AsSpan(_spans)))
        {
            return;
        }

        Cursor.SpansChanged = true;
        Subtract(_before, _spans, added);
        foreach (PageRange gone in added)
        {
            Notices.Dropped(gone);
        }

        added.Clear();
        Pages.ForgetOutside(CollectionsMarshal.AsSpan(_spans));
        Subtract(_spans, _before, added);
    }

    /// <summary>Other spans are asked for from now on; <see cref="Refresh"/> puts them into force.</summary>
    internal void Restrict(IReadOnlyList<PageRange>? ranges)
    {
        Ranges = ranges;
        _rangesChanged = true;
    }

    /// <summary>Forgets all pages: the process is gone.</summary>
    internal void Forget()
    {
        Pages.ForgetAll();
        Cursor.Clear();
        _spans.Clear();
        RegisteredPages = 0;
    }

    /// <summary>Forgets what is known about the contents of pages, none of which is merged.</summary>
    internal void ForgetContents()
    {
        Pages.ForgetContents();
        Cursor.Rewind();
    }

    private void IntersectSpans()
    {
        _spans.Clear();
        RegisteredPages = 0;
        int next = 0;
        foreach (PageRange region in Target.Regions)
        {
            if (Ranges is null)
            {
                AddSpan(region);
                continue;
            }

            while (next < Ranges.Count && Ranges[next].End <= region.Start)
            {
                next++;
            }

            for (int i = next; i < Ranges.Count && Ranges[i].Start < region.End; i++)
            {
                AddSpan(region.Intersect(Ranges[i]));
            }
        }
    }

    private void AddSpan(PageRange span)
    {
        Invariant.Check(!span.IsEmpty && (_spans.Count == 0 || _spans[^1].End <= span.Start));
        RegisteredPages += (long)span.Count;
        _spans.Add(span);
    }

    /// <summary>What <paramref name="minuend"/> has and <paramref name="subtrahend"/> has not; both sorted, disjoint.
    /// </summary>
    private static void Subtract(List<PageRange> minuend, List<PageRange> subtrahend, List<PageRange> difference)
    {
        int next = 0;
        foreach (PageRange span in minuend)
        {
            ulong page = span.Start;
            while (next < subtrahend.Count && subtrahend[next].End <= page)
            {
                next++;
            }

            for (int i = next; i < subtrahend.Count && subtrahend[i].Start < span.End; i++)
            {
                if (subtrahend[i].Start > page)
                {
                    difference.Add(new PageRange(page, subtrahend[i].Start));
                }

                page = Math.Max(page, subtrahend[i].End);
            }

            if (page < span.End)
            {
                difference.Add(new PageRange(page, span.End));
            }
        }
    }
}
