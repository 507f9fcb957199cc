namespace Samepage;

/// <summary>
/// The full scan that goes on in the background, cut into wake-ups. For each target in turn: look at its regions; let
/// the scan list, read and digest what changed; decide about what was listed in the pass before and not again in this
/// one; try again what could not be merged. A wake-up ends when its budget does, and always at the end of a pass.
/// </summary>
internal sealed class BackgroundPass(EngineState state, Scanner scanner, SharedPages shared)
{
    // Pages that failed are looked at every so many passes (and each of them more seldom the more often it failed).
    private const int PassesPerRetry = 4;

    private readonly List<PageRange> _added = [];
    private int _target;
    private Phase _phase;

    private enum Phase
    {
        Begin,
        Scan,
        Settle,
        Retry,
    }

    /// <summary>Goes on with the pass.</summary>
    /// <returns>True when the pass is through.</returns>
    public bool Go(WakeBudget budget)
    {
        while (_target < state.Targets.Count)
        {
            RegisteredTarget target = state.Targets[_target];
            if (!target.Target.IsAlive)
            {
                target.Forget();
            }
            else if (!Go(target, budget))
            {
                return false;
            }

            _target++;
            _phase = Phase.Begin;
            if (_target < state.Targets.Count && budget.IsWalkExhausted)
            {
                return false;
            }
        }

        _target = 0;
        state.FullScans++;
        return true;
    }

    /// <summary>The next wake-up begins a pass: all that is known about pages was forgotten.</summary>
    public void Restart()
    {
        _target = 0;
        _phase = Phase.Begin;
    }

    /// <summary>A target is about to leave the list.</summary>
    public void Leaves(RegisteredTarget target)
    {
        int index = state.Targets.IndexOf(target);
        if (index < _target)
        {
            _target--;
        }
        else if (index == _target)
        {
            _phase = Phase.Begin;
        }
    }

    private bool Go(RegisteredTarget target, WakeBudget budget)
    {
        if (_phase == Phase.Begin)
        {
            target.Refresh(force: false, _added);
            shared.Adopt(target, _added);
            target.Pages.RecallStale();
            target.Cursor.Rewind();
            target.Pages.BeginPass();
            target.Passes++;
            _phase = Phase.Scan;
        }

        if (_phase == Phase.Scan)
        {
            if (!scanner.ScanSome(target, budget, atOnce: false))
            {
                return false;
            }

            _phase = Phase.Settle;
        }

        if (_phase == Phase.Settle)
        {
            if (!scanner.SettleWaiting(target, budget))
            {
                return false;
            }

            if (!state.Knobs.SmartScan || target.Passes % PassesPerRetry == 0)
            {
                target.Pages.BeginRetry();
            }
            else
            {
                state.PagesSkipped += target.Pages.CountOf(PageState.Unmergeable);
            }

            _phase = Phase.Retry;
        }

        return target.Pages.Retrying.IsEmpty
            || scanner.RetrySome(target, budget, Round(target), passingOnly: false);
    }

    // Round 0: every page is tried, however often it has failed.
    private long Round(RegisteredTarget target) =>
        state.Knobs.SmartScan ? Math.Max(1, target.Passes / PassesPerRetry) : 0;
}
