namespace Samepage;

/// <summary>
/// A merge somebody waits for. Looks at every changed page once and decides about it at once instead of waiting for a
/// second visit, which costs nothing but, now and then, a store page for a page that was about to change; the machine compares
/// bytes anyway. Pages that could not be merged for a passing reason are tried again until a round merges nothing new. What
/// is written after it was looked at is left to the next merge: to list everything again takes as long as many
/// merges where memory lies in many small mappings, as it does after a merge.
/// </summary>
internal sealed class SynchronousMerge(
    EngineState state, Scanner scanner, Sampler sampler, Executor executor, SharedPages shared, WakeBudget budget)
{
    // Memory that changes faster than it is merged would keep it going for ever.
    private const int RoundsMax = 8;

    // Planned pages that may wait to be started. While plans are carried out the next ones are looked for, so as many
    // again may be under way: store pages exist beside the private ones until then, and this bounds the memory a
    // merge needs before it gives any back (24 MiB). Small enough that what was read and written is still in the
    // processor's cache when the target compares it; large enough that windows are full.
    private const long PlannedMaxDefault = 3072;

    // Pages between two reports of progress.
    private const long ReportPages = 16384;

    private readonly List<PageRange> _added = [];

    /// <summary>Planned pages that may wait to be started.</summary>
    public long PlannedMax { get; set; } = PlannedMaxDefault;

    private IProgress<EngineProgress>? _progress;
    private long _total;
    private long _before;
    private long _reported;

    /// <summary>Merges.</summary>
    /// <param name="targets">Targets to scan.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <returns>True when nothing is left to merge as far as one can tell; false when it was cancelled.</returns>
    public bool Run(
        IReadOnlyList<RegisteredTarget> targets, IProgress<EngineProgress>? progress, CancellationToken cancel)
    {
        _progress = progress;
        budget.Unlimited(cancel);
        state.Samples.Begin();
        try
        {
            return Rounds(targets, cancel);
        }
        finally
        {
            sampler.Rest();
        }
    }

    private bool Rounds(IReadOnlyList<RegisteredTarget> targets, CancellationToken cancel)
    {
        for (int round = 0; round < RoundsMax; round++)
        {
            long before = MergedEver() + state.SecondGuesses;
            Round(targets, round, cancel);
            executor.Flush();
            if (cancel.IsCancellationRequested)
            {
                return false;
            }

            if (MergedEver() + state.SecondGuesses == before)
            {
                break;
            }
        }

        Report("merge", _total, always: true);
        return true;
    }

    private void Round(IReadOnlyList<RegisteredTarget> targets, int round, CancellationToken cancel)
    {
        _total = targets.Sum(target => target.RegisteredPages);
        _before = 0;
        _reported = 0;
        executor.BeginRound();
        foreach (RegisteredTarget target in targets)
        {
            if (cancel.IsCancellationRequested)
            {
                return;
            }

            // Its regions are looked at anew and its pages may be forgotten.
            state.UnderWay.CompleteIn(target);
            if (target.Target.IsAlive)
            {
                Round(target, round);
            }
            else
            {
                target.Forget();
            }

            _before += target.RegisteredPages;
        }

        // What the last pages showed to be needed of targets that had been through, or are not scanned at all.
        if (targets.Count > 0)
        {
            Go(targets[^1], () => scanner.ReadUnread(budget));
        }
    }

    private void Round(RegisteredTarget target, int round)
    {
        target.Refresh(force: round == 0, _added);
        shared.Adopt(target, _added);
        target.Cursor.Rewind();
        target.Pages.RecallStale();
        target.Pages.BeginRetry();
        if (round == 0)
        {
            Go(target, () => scanner.ScanSome(target, budget, atOnce: true));
        }

        Go(target, () => scanner.SettleAll(target, budget));
        Go(target, () => scanner.RetrySome(target, budget, 0, passingOnly: round > 0));
    }

    /// <summary>Repeats a piece of work until it is through, and executes in between what has been planned.</summary>
    private void Go(RegisteredTarget target, Func<bool> piece)
    {
        bool done = false;
        while (!done)
        {
            budget.Piece(Math.Max(1, PlannedMax / 4));
            done = piece() || budget.IsCancelled;
            Report("scan", _before + Position(target), always: false);
            executor.StartSome(PlannedMax);
        }
    }

    private long MergedEver() => state.Targets.Sum(target => target.Pages.MergedEver + target.Pages.ZeroedEver);

    private static long Position(RegisteredTarget target)
    {
        ScanCursor cursor = target.Cursor;
        long pages = 0;
        for (int i = 0; i < cursor.Span && i < target.Spans.Count; i++)
        {
            pages += (long)target.Spans[i].Count;
        }

        if (cursor.Span < target.Spans.Count && cursor.Page > target.Spans[cursor.Span].Start)
        {
            pages += (long)(cursor.Page - target.Spans[cursor.Span].Start);
        }

        return pages;
    }

    private void Report(string phase, long done, bool always)
    {
        if (_progress is not null && (always || done - _reported >= ReportPages))
        {
            _reported = done;
            _progress.Report(new EngineProgress(phase, done, Math.Max(done, _total)));
        }
    }
}
