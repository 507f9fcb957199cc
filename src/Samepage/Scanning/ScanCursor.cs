namespace Samepage;

/// <summary>Where the scan of one target stands: the next page to ask about, and pages listed but not visited yet. They
/// are kept because the machine lists a change once.</summary>
internal sealed class ScanCursor
{
    /// <summary>Memory of one cursor, in bytes.</summary>
    public const int Bytes = RunsMax * 16;

    private const int RunsMax = 256;

    private readonly PageRange[] _listed = new PageRange[RunsMax];
    private int _next;
    private int _count;

    /// <summary>Index of the span the cursor is in; number of spans when it is through.</summary>
    public int Span { get; set; }

    /// <summary>Next page to ask about; below the span's start before its first window.</summary>
    public ulong Page { get; set; }

    /// <summary>Pages to walk over in the next call.</summary>
    public ulong Window { get; set; }

    /// <summary>The spans are others than when pages were listed: those may lie outside.</summary>
    public bool SpansChanged { get; set; }

    public bool HasListed => _next < _count;

    /// <summary>Where the machine puts its runs while nothing is listed.</summary>
    public Span<PageRange> Room => _listed;

    /// <summary>That many runs are in <see cref="Room"/> now.</summary>
    public void Listed(int runs)
    {
        Invariant.Check(!HasListed && runs <= _listed.Length);
        _next = 0;
        _count = runs;
        SpansChanged = false;
        IsNew = true;
    }

    /// <summary>Takes the next listed page out.</summary>
    public bool TryTake(out ulong page)
    {
        if (!HasListed)
        {
            page = 0;
            return false;
        }

        ref PageRange run = ref _listed[_next];
        page = run.Start;
        run = run with { Start = page + 1 };
        if (run.IsEmpty)
        {
            _next++;
        }

        return true;
    }

    /// <summary>The runs that are listed, where they were not taken out yet.</summary>
    public ReadOnlySpan<PageRange> Runs => _listed.AsSpan(_next, _count - _next);

    /// <summary>True from <see cref="Listed(int)"/> until somebody sets it back.</summary>
    public bool IsNew { get; set; }

    /// <summary>Pages listed and not taken out yet, counted up to <paramref name="enough"/>.</summary>
    public ulong CountListed(ulong enough)
    {
        ulong pages = 0;
        for (int i = _next; i < _count && pages < enough; i++)
        {
            pages += _listed[i].Count;
        }

        return pages;
    }

    /// <summary>Takes listed pages out that lie one behind the other; there must be some.</summary>
    /// <param name="most">At most so many.</param>
    /// <param name="border">None beyond the next page number that is a multiple of this power of two.</param>
    public PageRange TakeRun(ulong most, ulong border)
    {
        Invariant.Check(HasListed);
        ref PageRange run = ref _listed[_next];
        ulong end = Math.Min((run.Start | (border - 1)) + 1, Math.Min(run.End, run.Start + most));
        var taken = run with { End = end };
        run = run with { Start = taken.End };
        if (run.IsEmpty)
        {
            _next++;
        }

        return taken;
    }

    /// <summary>Back to the start of the first span. What is listed stays listed.</summary>
    public void Rewind()
    {
        Span = 0;
        Page = 0;
    }

    /// <summary>Forgets what is listed too.</summary>
    public void Clear()
    {
        Rewind();
        _next = 0;
        _count = 0;
    }
}
