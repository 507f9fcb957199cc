namespace Samepage;

/// <summary>
/// Carries plans out. Planned pages are found by their words, in address order, so pages that were planned in any
/// order come together again as runs: consecutive pages to consecutive slots are one plan.
/// </summary>
internal sealed class Executor
{
    // How long one call of the machine may get; the machine cuts it into stops of the target by itself. What is more
    // than that is executed before the engine goes on.
    private const int PagesPerCallMax = 32768;

    private const int PlansMin = 256;

    // How often a page may vanish before we believe it. The attempts of other reasons count too.
    private const int VanishedMax = 2;

    private readonly EngineState _state;
    private readonly Matcher _matcher;
    private MergePlan[] _plans = [];
    private int _planCount;
    private int _planPages;

    public Executor(EngineState state, Matcher matcher)
    {
        _state = state;
        _matcher = matcher;
        state.UnderWay.Settle = Settle;
    }

    /// <summary>Memory of the plans in hand, in bytes.</summary>
    public long MemoryBytes => _plans.Length * 32L;

    /// <summary>Targets that could not be stopped are tried again from now on.</summary>
    public void BeginRound()
    {
        foreach (RegisteredTarget target in _state.Targets)
        {
            target.IsStuck = false;
        }
    }

    /// <summary>Executes everything planned. Afterwards no page is planned any more.</summary>
    public void Flush()
    {
        _state.UnderWay.Complete();
        StartIdle(pagesMin: 1);
        _state.UnderWay.Complete();
        ReturnUnwritten();
        ForgetTheDead();
        foreach (RegisteredTarget target in _state.Targets)
        {
            Invariant.Check(target.Pages.PlannedCount == 0);
            target.Target.Rest();
        }

        _plans = [];
    }

    /// <summary>
    /// Executes what is planned beside the engine, where the machine can: starts plans wherever nothing is under way and
    /// there is enough for some stops, and waits when too much is planned. What it comes to is known when
    /// <see cref="UnderWay"/> has completed it.
    /// </summary>
    /// <param name="waitingMax">Planned pages that may wait to be started; twice as many may be planned at all.</param>
    public void StartSome(long waitingMax)
    {
        if (_state.Domains.Exists(domain => domain.HasUnwritten))
        {
            // Their plans fail. Only when none is left may the slots be used for others.
            Flush();
        }

        StartIdle(pagesMin: Math.Max(1, waitingMax / 4));
        while (IsTooMuch(waitingMax))
        {
            if (!_state.UnderWay.IsEmpty)
            {
                _state.UnderWay.CompleteFirst();
            }

            StartIdle(pagesMin: 1);
        }

        ForgetTheDead();
    }

    private bool IsTooMuch(long waitingMax)
    {
        long planned = 0;
        foreach (RegisteredTarget target in _state.Targets)
        {
            planned += target.Pages.PlannedCount;
        }

        return planned - _state.UnderWay.Pages >= waitingMax || planned >= 2 * waitingMax;
    }

    private void StartIdle(long pagesMin)
    {
        _matcher.JoinReopened();
        // Last those that are being read: a stop window and a reader both want the lock of the same address space.
        foreach (bool last in (ReadOnlySpan<bool>)[false, true])
        {
            foreach (RegisteredTarget target in _state.Targets)
            {
                if (!target.Pages.Unread.IsEmpty == last && _state.UnderWay.TryCompleteIn(target)
                    && target.Pages.PlannedCount >= pagesMin)
                {
                    Start(target);
                }
            }
        }
    }

    private void ReturnUnwritten()
    {
        foreach (MergeDomain domain in _state.Domains)
        {
            if (domain.HasUnwritten)
            {
                domain.ReturnUnwritten();
            }
        }
    }

    // Not while plans are being settled: the scanner may be in the middle of that target's pages.
    private void ForgetTheDead()
    {
        for (int i = 0; i < _state.Targets.Count; i++)
        {
            RegisteredTarget target = _state.Targets[i];
            if (target.IsStuck && !target.Target.IsAlive)
            {
                target.Forget();
            }
        }
    }

    private void Start(RegisteredTarget target)
    {
        TargetPages pages = target.Pages;
        if (pages.Dirty.Count == 0)
        {
            return;
        }

        foreach (uint chunk in pages.SortedDirty())
        {
            _state.Pages.ClearDirty(chunk);
            AddPlans(target, chunk);
        }

        pages.Dirty.Clear();
        // A target that is stuck has none: its pages have failed by now.
        if (_planCount > 0)
        {
            _state.UnderWay.Start(target, TakePlans(out int planPages), planPages);
        }
    }

    /// <summary>The plans in hand, which are no longer in hand then; valid until the next is added.</summary>
    private Span<MergePlan> TakePlans(out int pages)
    {
        Span<MergePlan> plans = _plans.AsSpan(0, _planCount);
        pages = _planPages;
        _planCount = 0;
        _planPages = 0;
        return plans;
    }

    private void AddPlans(RegisteredTarget target, uint chunk)
    {
        Span<ulong> words = _state.Pages.Words(chunk);
        ulong first = _state.Pages.FirstPage(chunk);
        bool unwritten = target.Pages.Domain.HasUnwritten;
        for (int i = 0; i < words.Length; i++)
        {
            var word = new PageWord(words[i]);
            if (word.State != PageState.Planned)
            {
                continue;
            }

            uint id = (chunk << PageTable.ChunkShift) + (uint)i;
            if (target.IsStuck)
            {
                target.Pages.Fail(id, NotMergedReason.TargetBusy, word.Attempts + 1, word.IsBroken);
            }
            else if (unwritten && target.Pages.Domain.IsUnwritten(word.Slot))
            {
                target.Pages.Fail(id, NotMergedReason.Refused, word.Attempts + 1, word.IsBroken);
            }
            else
            {
                AddPage(target, first + (uint)i, word);
            }
        }
    }

    private void AddPage(RegisteredTarget target, ulong page, PageWord word)
    {
        PlanKind kind = word.Slot == PageWord.ZeroSlot ? PlanKind.Zero
            : word.IsBroken ? PlanKind.Reshare
            : PlanKind.Share;
        if (_planCount > 0)
        {
            ref MergePlan last = ref _plans[_planCount - 1];
            bool goesOn = last.Kind == kind && last.Start + last.Count == page
                && (kind == PlanKind.Zero || last.Slot + last.Count == word.Slot);
            if (goesOn && _planPages < PagesPerCallMax)
            {
                last.Count++;
                _planPages++;
                return;
            }
        }

        if (_planPages >= PagesPerCallMax)
        {
            ExecuteNow(target, TakePlans(out _));
            if (target.IsStuck)
            {
                target.Pages.Fail(
                    target.Pages.IdOf(page), NotMergedReason.TargetBusy, word.Attempts + 1, word.IsBroken);
                return;
            }
        }

        if (_planCount == _plans.Length)
        {
            Array.Resize(ref _plans, Math.Max(PlansMin, _planCount * 2));
        }

        _plans[_planCount++] = new MergePlan
        {
            Start = page,
            Count = 1,
            Slot = kind == PlanKind.Zero ? 0 : word.Slot,
            Kind = kind,
        };
        _planPages++;
    }

    private void Settle(UnderWay.Batch batch)
    {
        int left = Settle(batch.Target, batch.Plans.AsSpan(0, batch.Count));
        ExecuteNow(batch.Target, batch.Plans.AsSpan(0, left));
    }

    /// <summary>Executes plans, and what remains of them behind a page that failed, until nothing is left. Every round
    /// gets rid of at least one page of each plan.</summary>
    private void ExecuteNow(RegisteredTarget target, Span<MergePlan> plans)
    {
        while (plans.Length > 0 && !target.IsStuck)
        {
            foreach (ref MergePlan plan in plans)
            {
                plan.Outcome = PlanOutcome.NotTried;
                plan.DonePages = 0;
            }

            target.Target.Execute(target.Pages.Domain.Store, plans);
            plans = plans[..Settle(target, plans)];
        }

        // Stuck: the target is gone or cannot be stopped now.
        foreach (MergePlan plan in plans)
        {
            FailPages(target, plan.Start, plan.Count, NotMergedReason.TargetBusy);
        }
    }

    /// <summary>Settles executed plans.</summary>
    /// <returns>How many, at the front now, have something left to try.</returns>
    private int Settle(RegisteredTarget target, Span<MergePlan> plans)
    {
        target.IsStuck |= GotNowhere(plans) || !target.Target.IsAlive;
        int left = 0;
        foreach (MergePlan plan in plans)
        {
            MergePlan rest = Settle(target, plan);
            if (rest.Count > 0)
            {
                plans[left++] = rest;
            }
        }

        return left;
    }

    /// <summary>Gives the pages of an executed plan their new words.</summary>
    /// <returns>What has still to be tried; empty (count 0) when nothing.</returns>
    private MergePlan Settle(RegisteredTarget target, MergePlan plan)
    {
        Invariant.Check(plan.DonePages <= plan.Count);
        Invariant.Check(plan.Outcome != PlanOutcome.Done || plan.DonePages == plan.Count);
        MarkDone(target, plan);
        uint left = plan.Count - plan.DonePages;
        if (left == 0)
        {
            return default;
        }

        ulong failing = plan.Start + plan.DonePages;
        switch (plan.Outcome)
        {
            case PlanOutcome.NotTried:
            case PlanOutcome.TargetBusy:
            case PlanOutcome.TargetGone:
                // Tried again at once as long as others get on; else it is kept until its pages are marked with all
                // others.
                return Rest(plan, plan.DonePages);
            case PlanOutcome.OverVmaBudget:
            case PlanOutcome.AsyncWriters:
                // Says something about the process, not about the page: the rest would fare no better.
                FailPages(target, failing, left, ReasonOf(plan.Outcome));
                return default;
            case PlanOutcome.Vanished:
                Vanished(target, failing, plan.Kind);
                return Rest(plan, plan.DonePages + 1);
            default:
                FailPages(target, failing, 1, ReasonOf(plan.Outcome));
                return Rest(plan, plan.DonePages + 1);
        }
    }

    private void MarkDone(RegisteredTarget target, MergePlan plan)
    {
        bool zero = plan.Kind == PlanKind.Zero;
        for (uint i = 0; i < plan.DonePages; i++)
        {
            uint id = target.Pages.IdOf(plan.Start + i);
            ref ulong word = ref _state.Pages[id];
            _state.Samples.TurnedOut(new PageWord(word), merged: true);
            target.Pages.Change(ref word, zero ? PageWord.Zeroed() : PageWord.Merged(plan.Slot + i));
        }

        if (zero)
        {
            target.Pages.ZeroedEver += plan.DonePages;
        }
        else
        {
            target.Pages.MergedEver += plan.DonePages;
        }
    }

    private void FailPages(RegisteredTarget target, ulong first, uint count, NotMergedReason reason)
    {
        for (ulong page = first; page < first + count; page++)
        {
            uint id = target.Pages.IdOf(page);
            var word = new PageWord(_state.Pages[id]);
            _state.Samples.TurnedOut(word, merged: false);
            target.Pages.Fail(id, reason, word.Attempts + 1, word.IsBroken);
        }
    }

    /// <summary>
    /// The page is gone, or it lies in the other kind of mapping than we think: the region went and came back without
    /// our hearing of it, or an earlier daemon merged and a write broke it. The second is tried before the first is
    /// believed.
    /// </summary>
    private void Vanished(RegisteredTarget target, ulong page, PlanKind kind)
    {
        uint id = target.Pages.IdOf(page);
        ref ulong word = ref _state.Pages[id];
        var old = new PageWord(word);
        // A zero page in a mapping of the store is what a machine cannot put right by itself.
        if (old.Attempts < VanishedMax || (kind == PlanKind.Zero && !old.IsBroken))
        {
            target.Pages.Fail(id, NotMergedReason.ContentChanged, old.Attempts + 1, !old.IsBroken);
            _state.SecondGuesses++;
        }
        else
        {
            target.Pages.Leave(ref word, PageWord.Unknown(old.IsBroken));
        }
    }

    /// <summary>
    /// True when nothing was done and nothing failed for a reason of its own: the target cannot be stopped.
    /// </summary>
    private static bool GotNowhere(ReadOnlySpan<MergePlan> plans)
    {
        foreach (MergePlan plan in plans)
        {
            bool waits = plan.Outcome is PlanOutcome.NotTried or PlanOutcome.TargetBusy or PlanOutcome.TargetGone;
            if (plan.DonePages > 0 || !waits)
            {
                return false;
            }
        }

        return true;
    }

    private static MergePlan Rest(MergePlan plan, uint skip) => plan with
    {
        Start = plan.Start + skip,
        Slot = plan.Kind == PlanKind.Zero ? 0 : plan.Slot + skip,
        Count = plan.Count - skip,
    };

    private static NotMergedReason ReasonOf(PlanOutcome outcome) => outcome switch
    {
        PlanOutcome.ContentChanged => NotMergedReason.ContentChanged,
        PlanOutcome.Pinned => NotMergedReason.Pinned,
        PlanOutcome.OverVmaBudget => NotMergedReason.OverVmaBudget,
        PlanOutcome.ThreadArea => NotMergedReason.ThreadArea,
        PlanOutcome.AsyncWriters => NotMergedReason.AsyncWriters,
        PlanOutcome.TargetBusy => NotMergedReason.TargetBusy,
        _ => NotMergedReason.Refused,
    };
}
