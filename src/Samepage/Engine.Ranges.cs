namespace Samepage;

/// <content>Targets of which single spans come and go.</content>
public sealed partial class Engine
{
    /// <summary>Replaces the spans a target is restricted to. Pages outside are forgotten: un-merge them before.</summary>
    /// <param name="target">A registered target.</param>
    /// <param name="ranges">Spans to merge in from now on: any order, may overlap; null for everything mergeable. Pages
    /// that come in count as changed only if the machine lists them again.</param>
    /// <exception cref="ArgumentException">The target is not registered here.</exception>
    public void SetRanges(RegisteredTarget target, IReadOnlyList<PageRange>? ranges)
    {
        ArgumentNullException.ThrowIfNull(target);
        _ = Chosen([target]);
        target.Restrict(Normalize(ranges));
        target.Refresh(force: true, _added);
        target.Cursor.Rewind();
        _shared.Adopt(target, _added);
        _state.TrimUnstable(atOnce: false);
    }

    /// <summary>Gives a target private copies of its merged pages in a span. It stays registered as it is.</summary>
    /// <param name="target">A registered target.</param>
    /// <param name="span">Where.</param>
    /// <param name="cancel">Ends it early with everything consistent.</param>
    public UnmergeReport UnmergeSpan(RegisteredTarget target, PageRange span, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(target);
        RegisteredTarget[] one = Chosen([target]);
        long start = _state.Machine.Clock.GetTimestamp();
        _unmerger.Begin();
        _unmerger.Unmerge(one[0], static () => { }, cancel, span);
        _reclaimer.All();
        long left = Unmerger.MergedIn(_state, target, span);
        return new UnmergeReport(
            _unmerger.Done, left, _state.Machine.Clock.GetElapsedTime(start), left == 0, LeftReasons());
    }
}
