using System.Runtime.InteropServices;

namespace Samepage;

/// <summary>Gives merged pages their private copies back.</summary>
internal sealed class Unmerger(EngineState state)
{
    private const int PlansMax = 512;
    private const int PagesPerCallMax = 32768;

    // A process that cannot be stopped is asked again this often; a page that fails once fails once more at most.
    private const int RoundsMax = 4;

    private readonly List<MergePlan> _plans = new(PlansMax);
    private readonly long[] _left = new long[NotMergedReasonNames.Count];
    private PageRange _only;
    private int _pages;
    private bool _stopped;

    /// <summary>Pages un-merged since <see cref="Begin"/>.</summary>
    public long Done { get; private set; }

    /// <summary>Pages that could not be, by reason, of the last round of each target.</summary>
    public ReadOnlySpan<long> Left => _left;

    public void Begin()
    {
        Done = 0;
        Array.Clear(_left);
    }

    /// <summary>Un-merges a target.</summary>
    /// <param name="target">The target. Its zero pages need nothing: they only stop being counted.</param>
    /// <param name="advanced">Called after each piece.</param>
    /// <param name="cancel">Ends it between two pieces.</param>
    /// <param name="only">The only pages to un-merge; null for all.</param>
    public void Unmerge(RegisteredTarget target, Action advanced, CancellationToken cancel, PageRange? only = null)
    {
        _only = only ?? new PageRange(0, ulong.MaxValue);
        var lost = new long[_left.Length];
        for (int round = 0; round < RoundsMax && !cancel.IsCancellationRequested; round++)
        {
            Array.Clear(lost);
            _stopped = false;
            foreach (uint chunk in target.Pages.SortedChunks())
            {
                AddPlans(target, chunk, lost, advanced);
                if (_stopped || cancel.IsCancellationRequested)
                {
                    break;
                }
            }

            Execute(target, lost);
            if (!target.Target.IsAlive)
            {
                target.Forget();
            }

            if (MergedIn(state, target, _only) == 0)
            {
                return;
            }
        }

        // Whatever was not even tried in the last round waits for the process.
        lost[(int)NotMergedReason.TargetBusy] += MergedIn(state, target, _only) - lost.Sum();
        for (int i = 0; i < lost.Length; i++)
        {
            _left[i] += lost[i];
        }
    }

    /// <summary>Merged pages of a target in a span.</summary>
    public static long MergedIn(EngineState state, RegisteredTarget target, PageRange span)
    {
        if (span.End == ulong.MaxValue || target.Pages.CountOf(PageState.Merged) == 0)
        {
            return target.Pages.CountOf(PageState.Merged);
        }

        long merged = 0;
        foreach (uint chunk in target.Pages.SortedChunks())
        {
            ulong first = state.Pages.FirstPage(chunk);
            if (first >= span.End || first + PageTable.ChunkPages <= span.Start)
            {
                continue;
            }

            ReadOnlySpan<ulong> words = state.Pages.Words(chunk);
            for (int i = 0; i < words.Length; i++)
            {
                merged += span.Contains(first + (uint)i) && new PageWord(words[i]).State == PageState.Merged ? 1 : 0;
            }
        }

        return merged;
    }

    private void AddPlans(RegisteredTarget target, uint chunk, long[] lost, Action advanced)
    {
        Span<ulong> words = state.Pages.Words(chunk);
        ulong first = state.Pages.FirstPage(chunk);
        for (int i = 0; i < words.Length; i++)
        {
            if (!_only.Contains(first + (uint)i))
            {
                continue;
            }

            var word = new PageWord(words[i]);
            if (word.State == PageState.Zeroed)
            {
                target.Pages.Change(ref words[i], default);
            }

            if (word.State != PageState.Merged)
            {
                continue;
            }

            Add(first + (uint)i, word.Slot);
            if (_plans.Count == PlansMax || _pages == PagesPerCallMax)
            {
                Execute(target, lost);
                advanced();
                if (_stopped)
                {
                    return;
                }
            }
        }
    }

    private void Add(ulong page, uint slot)
    {
        Span<MergePlan> plans = CollectionsMarshal.AsSpan(_plans);
        _pages++;
        if (plans.Length > 0)
        {
            ref MergePlan last = ref plans[^1];
            if (last.Start + last.Count == page && last.Slot + last.Count == slot)
            {
                last.Count++;
                return;
            }
        }

        _plans.Add(new MergePlan { Start = page, Count = 1, Slot = slot, Kind = PlanKind.Unshare });
    }

    private void Execute(RegisteredTarget target, long[] lost)
    {
        while (_plans.Count > 0 && !_stopped)
        {
            Span<MergePlan> plans = CollectionsMarshal.AsSpan(_plans);
            target.Target.Execute(target.Pages.Domain.Store, plans);
            long before = Done;
            int left = 0;
            bool waits = false;
            foreach (MergePlan plan in plans)
            {
                MergePlan rest = Settle(target, plan, lost, ref waits);
                if (rest.Count > 0)
                {
                    plans[left++] = rest;
                }
            }

            _plans.RemoveRange(left, _plans.Count - left);
            target.Notices.Flush();
            _stopped = waits && Done == before;
        }

        _plans.Clear();
        _pages = 0;
    }

    private MergePlan Settle(RegisteredTarget target, MergePlan plan, long[] lost, ref bool waits)
    {
        for (uint i = 0; i < plan.DonePages; i++)
        {
            // Private again, but still in the store's mapping.
            Release(target, plan.Start + i, PageWord.Unknown(true));
        }

        Done += plan.DonePages;
        if (plan.DonePages == plan.Count)
        {
            return default;
        }

        if (plan.Outcome is PlanOutcome.NotTried or PlanOutcome.TargetBusy or PlanOutcome.TargetGone)
        {
            waits = true;
            return Rest(plan, plan.DonePages);
        }

        if (plan.Outcome is PlanOutcome.Vanished or PlanOutcome.ContentChanged)
        {
            // Gone, or broken by a write in the meantime: not merged any more either way.
            Release(target, plan.Start + plan.DonePages, PageWord.Unknown(true));
            target.Notices.Dropped(plan.Start + plan.DonePages);
        }
        else
        {
            lost[(int)ReasonOf(plan.Outcome)]++;
        }

        return Rest(plan, plan.DonePages + 1);
    }

    private void Release(RegisteredTarget target, ulong page, PageWord value) =>
        target.Pages.Leave(ref state.Pages[target.Pages.IdOf(page)], value);

    private static MergePlan Rest(MergePlan plan, uint skip) => new()
    {
        Start = plan.Start + skip,
        Slot = plan.Slot + skip,
        Count = plan.Count - skip,
        Kind = plan.Kind,
    };

    private static NotMergedReason ReasonOf(PlanOutcome outcome) => outcome switch
    {
        PlanOutcome.Pinned => NotMergedReason.Pinned,
        PlanOutcome.OverVmaBudget => NotMergedReason.OverVmaBudget,
        PlanOutcome.ThreadArea => NotMergedReason.ThreadArea,
        PlanOutcome.AsyncWriters => NotMergedReason.AsyncWriters,
        _ => NotMergedReason.Refused,
    };
}
