namespace Samepage;

/// <summary>Makes snapshots of the counters.</summary>
internal static class StatusReader
{
    public static EngineStatus Read(EngineState state, long fixedBytes)
    {
        var domains = new List<DomainStatus>();
        foreach (MergeDomain domain in state.Domains)
        {
            domains.Add(Read(state, domain));
        }

        var reasons = new long[NotMergedReasonNames.Count];
        long registered = 0;
        foreach (RegisteredTarget target in state.Targets)
        {
            AddReasons(target, reasons);
            registered += target.RegisteredPages;
        }

        return new EngineStatus
        {
            Run = state.Knobs.Run,
            FullScans = state.FullScans,
            PagesScanned = state.PagesScanned,
            PagesSkipped = state.PagesSkipped,
            StableNodeChains = state.Domains.Sum(domain => domain.Chains.Chains),
            StableNodeDups = state.Domains.Sum(domain => domain.Chains.Members),
            PageRecordBytes = RecordBytes * domains.Sum(Records),
            PagesShared = domains.Sum(domain => domain.PagesShared),
            PagesSharing = domains.Sum(domain => domain.PagesSharing),
            PagesUnshared = domains.Sum(domain => domain.PagesUnshared),
            PagesVolatile = domains.Sum(domain => domain.PagesVolatile),
            ZeroPages = domains.Sum(domain => domain.ZeroPages),
            BytesSaved = domains.Sum(domain => domain.BytesSaved),
            StorePages = domains.Sum(domain => domain.StorePages),
            MetadataBytes = state.MetadataBytes + fixedBytes,
            CpuTime = state.Machine.CpuTime,
            RegisteredPages = registered,
            NotMerged = ToDictionary(reasons),
            Domains = domains,
        };
    }

    public static TargetStatus Read(EngineState state, RegisteredTarget target)
    {
        TargetPages pages = target.Pages;
        var reasons = new long[NotMergedReasonNames.Count];
        AddReasons(target, reasons);
        long unshared = pages.Unshared;
        long merged = pages.CountOf(PageState.Merged);
        return new TargetStatus(
            target.Target.Pid,
            target.Target.Name,
            target.Domain,
            target.Target.IsAlive,
            target.Spans.Count,
            target.RegisteredPages,
            merged + unshared + pages.Volatile,
            merged,
            pages.CountOf(PageState.Zeroed),
            unshared,
            pages.Volatile,
            (long)(PagesSavedIn(state, target) * PageSize.Bytes),
            target.Target.VmaCount,
            ToDictionary(reasons));
    }

    /// <summary>The target's part of the saving in pages: 1 - 1/n for a page whose slot has n mappings.</summary>
    public static double PagesSavedIn(EngineState state, RegisteredTarget target)
    {
        double saved = target.Pages.CountOf(PageState.Zeroed);
        if (target.Pages.CountOf(PageState.Merged) == 0)
        {
            return saved;
        }

        SlotTable slots = target.Pages.Domain.Slots;
        foreach (uint chunk in target.Pages.SortedChunks())
        {
            foreach (ulong bits in state.Pages.Words(chunk))
            {
                var word = new PageWord(bits);
                if (word.State == PageState.Merged)
                {
                    saved += 1.0 - (1.0 / slots.Mappings(word.Slot));
                }
            }
        }

        return saved;
    }

    // A page's word, a slot's record and an entry of a tree are eight bytes each (a little less for an entry).
    private const long RecordBytes = 8;

    // Each known page has its word, a candidate is in the unstable tree, a mapped slot has its record and is in the
    // stable tree.
    private static long Records(DomainStatus domain) =>
        domain.PagesSharing + domain.ZeroPages + domain.PagesVolatile
        + (2 * domain.PagesUnshared) + (3 * domain.PagesShared);

    private static DomainStatus Read(EngineState state, MergeDomain domain)
    {
        int targets = 0;
        long merged = 0;
        long unshared = 0;
        long changing = 0;
        long zero = 0;
        long planned = 0;
        foreach (RegisteredTarget target in state.Targets)
        {
            if (target.Pages.Domain == domain)
            {
                targets++;
                merged += target.Pages.CountOf(PageState.Merged);
                unshared += target.Pages.Unshared;
                changing += target.Pages.Volatile;
                zero += target.Pages.CountOf(PageState.Zeroed);
                planned += target.Pages.PlannedCount;
            }
        }

        // Between two wake-ups nothing is planned, so every mapping that is counted is there. In the middle of a
        // synchronous merge slots are counted whose pages are planned and not merged yet.
        long sharing = merged - domain.Slots.Mapped;
        Invariant.Check(sharing >= 0 || planned > 0);
        sharing = Math.Max(0, sharing);
        return new DomainStatus(
            domain.Name,
            targets,
            domain.Slots.Mapped,
            sharing,
            unshared,
            changing,
            zero,
            domain.Slots.Stored,
            (sharing + zero) * PageSize.Bytes);
    }

    private static void AddReasons(RegisteredTarget target, Span<long> reasons)
    {
        ReadOnlySpan<long> own = target.Pages.Reasons;
        ReadOnlySpan<long> outside = target.Target.NotMergedPages;
        for (int i = 0; i < reasons.Length; i++)
        {
            reasons[i] += own[i] + (i < outside.Length ? outside[i] : 0);
        }
    }

    private static Dictionary<NotMergedReason, long> ToDictionary(ReadOnlySpan<long> reasons)
    {
        var result = new Dictionary<NotMergedReason, long>();
        for (int i = 0; i < reasons.Length; i++)
        {
            if (reasons[i] != 0)
            {
                result.Add((NotMergedReason)i, reasons[i]);
            }
        }

        return result;
    }
}
