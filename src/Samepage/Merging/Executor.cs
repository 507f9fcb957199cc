namespace Samepage;

/// <summary>
/// Carries plans out. Planned pages are found by their words, in address order, so pages that were planned in any
/// order come together again as runs: consecutive pages to consecutive slots are one plan.
/// </summary>
internal sealed class Executor(EngineState state, Matcher matcher)
{
    // Plans of one call. The machine keeps what it has looked at of the store until the call ends: few and large calls.
    private const int PlansMax = 8192;

    // How long one call of the machine may get; the machine cuts it into stops of the target by itself.
    private const int PagesPerCallMax = 32768;

    // How often a page may vanish before we believe it. The attempts of other reasons count too.
    private const int VanishedMax = 2;

    private readonly MergePlan[] _plans = new MergePlan[PlansMax];
    private int _planCount;
    private int _planPages;
    private bool _stopped;

    /// <summary>Executes everything planned. Afterwards no page is planned any more.</summary>
    public void Flush()
    {
        matcher.JoinReopened();
        // Not foreach: a target that is found gone is taken care of in between.
        for (int i = 0; i < state.Targets.Count; i++)
        {
            Flush(state.Targets[i]);
        }

        foreach (MergeDomain domain in state.Domains)
        {
            if (domain.HasUnwritten)
            {
                domain.ReturnUnwritten();
            }
        }
    }

    private void Flush(RegisteredTarget target)
    {
        TargetPages pages = target.Pages;
        if (pages.Dirty.Count == 0)
        {
            return;
        }

        _stopped = false;
        foreach (uint chunk in pages.SortedDirty())
        {
            state.Pages.ClearDirty(chunk);
            AddPlans(target, chunk);
        }

        ExecuteBatch(target);
        pages.Dirty.Clear();
        if (_stopped && !target.Target.IsAlive)
        {
            target.Forget();
        }

        Invariant.Check(pages.PlannedCount == 0);
    }

    private void AddPlans(RegisteredTarget target, uint chunk)
    {
        Span<ulong> words = state.Pages.Words(chunk);
        ulong first = state.Pages.FirstPage(chunk);
        bool unwritten = target.Pages.Domain.HasUnwritten;
        for (int i = 0; i < words.Length; i++)
        {
            var word = new PageWord(words[i]);
            if (word.State != PageState.Planned)
            {
                continue;
            }

            uint id = (chunk << PageTable.ChunkShift) + (uint)i;
            if (_stopped)
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

        if (_planCount == PlansMax || _planPages >= PagesPerCallMax)
        {
            ExecuteBatch(target);
            if (_stopped)
            {
                target.Pages.Fail(
                    target.Pages.IdOf(page), NotMergedReason.TargetBusy, word.Attempts + 1, word.IsBroken);
                return;
            }
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

    /// <summary>Executes the plans in hand, and what remains of them behind a page that failed, until nothing is left.
    /// Every round gets rid of at least one page of each plan.</summary>
    private void ExecuteBatch(RegisteredTarget target)
    {
        while (_planCount > 0 && !_stopped)
        {
            Span<MergePlan> plans = _plans.AsSpan(0, _planCount);
            foreach (ref MergePlan plan in plans)
            {
                plan.Outcome = PlanOutcome.NotTried;
                plan.DonePages = 0;
            }

            target.Target.Execute(target.Pages.Domain.Store, plans);
            _stopped = GotNowhere(plans) || !target.Target.IsAlive;
            int left = 0;
            foreach (MergePlan plan in plans)
            {
                MergePlan rest = Settle(target, plan);
                if (rest.Count > 0)
                {
                    plans[left++] = rest;
                }
            }

            _planCount = left;
        }

        // Stopped: the target is gone or cannot be stopped now.
        foreach (MergePlan plan in _plans.AsSpan(0, _planCount))
        {
            FailPages(target, plan.Start, plan.Count, NotMergedReason.TargetBusy);
        }

        _planCount = 0;
        _planPages = 0;
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
                Vanished(target, failing);
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
            target.Pages.Change(
                ref state.Pages[id], zero ? PageWord.Zeroed() : PageWord.Merged(plan.Slot + i));
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
            var word = new PageWord(state.Pages[id]);
            target.Pages.Fail(id, reason, word.Attempts + 1, word.IsBroken);
        }
    }

    /// <summary>
    /// The page is gone, or it lies in the other kind of mapping than we think: the region went and came back without
    /// our hearing of it, or an earlier daemon merged and a write broke it. The second is tried before the first is
    /// believed.
    /// </summary>
    private void Vanished(RegisteredTarget target, ulong page)
    {
        uint id = target.Pages.IdOf(page);
        ref ulong word = ref state.Pages[id];
        var old = new PageWord(word);
        if (old.Attempts < VanishedMax)
        {
            target.Pages.Fail(id, NotMergedReason.ContentChanged, old.Attempts + 1, !old.IsBroken);
            state.SecondGuesses++;
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
