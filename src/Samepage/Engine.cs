namespace Samepage;

// Samepage merges identical pages of unrelated processes, as KSM (mm/ksm.c) does inside the kernel.
//
// The task. Among all pages of all registered targets find those with equal bytes; let one immutable page stand for
// all of them, mapped copy-on-write where each was; count what that saves; notice when a write breaks a sharing.
//
// Why the obvious structure fails. One search tree over all pages, ordered by content, would do if contents stood
// still. But any page may change at any moment without telling anybody, and one changed page in a tree makes everything
// below it unreachable. Write-protecting every page first would keep the tree right and make every write of every
// target a fault. So there are two trees:
//
//   * The stable tree holds store pages: pages that are merged. Nobody can write them, so the tree is always right. A
//     page that finds itself here joins: one more mapping, nothing new to keep.
//   * The unstable tree holds candidates: pages that were not written between two visits and have found no partner yet.
//     Nothing protects them, so the tree may be wrong, which costs a chance to merge and never more: whoever finds a
//     partner here has both pages compared byte by byte while nobody can write them. KSM throws this tree away after
//     each pass; ours drops an entry when it hears that the page was written.
//
// "Trees" is KSM's word. Ours are hash indexes over keys of 48 bits out of a seeded 128-bit digest of the page
// (MergeDomain.Stable, EngineState.Unstable): a digest is a filter, bytes are compared before every merge.
//
// The techniques:
//
//   1. Two visits by write tracking. A page that changes all the time is not worth merging: the next write breaks it
//      again. KSM keeps a checksum and compares it at the next visit. Here the machine lists the pages written since
//      they were last listed (ITarget.Scan); a page listed in pass N is read and digested, and if pass N+1 does
//      not list it, it stood still and is decided about, from its key alone. Memory nobody writes is never read
//      again: a pass over it costs one call per region. (Scanner, TargetPages.Waiting)
//   2. Runs. Pages that lie one behind the other are planned to slots that lie one behind the other, wherever the
//      partner lies: one plan, one mapping, one stop of the target for thousands of pages. For this pages are decided
//      about in address order, new store pages come from long free extents, and of several equal store pages the one
//      behind the neighbour's is taken. (SlotAllocator, Executor)
//   3. Domains. Whoever can merge with a page can learn that it exists, by timing his own write. So pages are shared
//      only inside a trust domain: each has its own store and stable tree. (MergeDomain)
//   4. Zero pages need no store page: they are taken away, and the kernel maps its zero page at the next read.
//   5. Compare under stop. Everything here is planned from what was read earlier; the machine compares page and store
//      while nobody can write either. A plan can only be too late, never wrong, and a page that failed carries its
//      reason and is tried again, more and more seldom. (ITarget.Execute, Executor)
//   6. Reclaim. A store page without mappings stays a while, because it may find a new one, and is given back when
//      the machine can prove that nobody at all maps it, forked children that we never heard of included. (Reclaimer)
//   7. Audit. What a target does to merged pages without a write (MADV_DONTNEED, mremap, munmap) shows only in its page
//      tables, so these are compared with the words a few pages at a time. (SharedPages)
//
//   8. Samples. Of unique memory nothing has to be read but enough to see that it is unique. A synchronous merge has the
//      machine hash two secret lines of each listed page where it lies; a page whose sample nobody else has is remembered by
//      it and not read. When another page turns up with the same sample, one of the two is read and the other is planned
//      with it, unread: the machine compares bytes anyway, and where too many of such guesses are wrong, both are read.
//      (Sampler, Samples, Trust, Matcher.DecideTwin, ITarget.Sample)
//
//   9. Two things at once. The machine carries plans out while the engine looks for the next ones: both take about the
//      same time, and a host that has memory to merge has a second processor. Pages under way stay planned, and
//      whoever has to know what became of them waits first. (UnderWay, ITarget.Start)
//
// The life of a page, in its word (PageWord): Unknown -> listed: Fresh -> one pass later: Candidate, or Planned ->
// executed: Merged, or Zeroed, or Unmergeable with a reason -> written: listed again: Fresh, now broken. A synchronous merge
// has Sampled before Candidate.
//
// A synchronous merge (Merge) skips the second visit of technique 1 and decides while the bytes are at hand.

/// <summary>
/// Finds identical pages in registered targets and merges them. Not thread-safe: one loop owns it and everything
/// it hands out, except finished reports and snapshots.
/// </summary>
public sealed partial class Engine
{
    // How often a few merged pages are compared with what the machine shows.
    private static readonly TimeSpan AuditPause = TimeSpan.FromMilliseconds(500);

    // A pass that finds less than one page in so many changed counts as one that found nothing.
    private const int IdleShare = 256;

    private readonly EngineState _state;
    private readonly WakeBudget _budget;
    private readonly Pacer _pacer;
    private readonly Executor _executor;
    private readonly SharedPages _shared;
    private readonly BackgroundPass _pass;
    private readonly SynchronousMerge _merge;
    private readonly Unmerger _unmerger;
    private readonly Reclaimer _reclaimer;
    private readonly List<PageRange> _added = [];
    private long _audited;
    private long _scannedAtPassEnd;

    /// <summary>An engine without targets.</summary>
    /// <param name="machine">What it works on.</param>
    /// <param name="knobs">Its settings.</param>
    /// <param name="seed">Seed of the page digests; secret, so that no target can craft collisions.</param>
    public Engine(IMachine machine, Knobs knobs, ulong seed)
        : this(machine, knobs, seed, SamplingOptions.Default)
    {
    }

    internal Engine(IMachine machine, Knobs knobs, ulong seed, SamplingOptions sampling)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(knobs);
        Knobs = knobs;
        _state = new EngineState(machine, knobs, seed, sampling);
        _budget = new WakeBudget(machine);
        _pacer = new Pacer(machine, knobs);
        _shared = new SharedPages(_state);
        var batch = new PageBatch();
        var matcher = new Matcher(_state, batch);
        var sampler = new Sampler(_state);
        var scanner = new Scanner(_state, matcher, batch, sampler);
        _executor = new Executor(_state, matcher);
        _pass = new BackgroundPass(_state, scanner, _shared);
        _merge = new SynchronousMerge(_state, scanner, sampler, _executor, _shared, _budget);
        _unmerger = new Unmerger(_state);
        _reclaimer = new Reclaimer(_state);
        _audited = machine.Clock.GetTimestamp();
    }

    /// <summary>The settings.</summary>
    public Knobs Knobs { get; }

    /// <summary>Registered targets, in order of registration.</summary>
    public IReadOnlyList<RegisteredTarget> Targets => _state.Targets;

    internal long FullScans => _state.FullScans;

    /// <summary>Planned pages at which a synchronous merge has plans carried out; tests make it small.</summary>
    internal long PagesStartedAtOnce
    {
        get => _merge.PlannedMax;
        set => _merge.PlannedMax = value;
    }

    /// <summary>Takes a target under care and adopts pages of it that are already merged.</summary>
    /// <param name="target">The address space; not registered yet.</param>
    /// <param name="domain">Trust domain.</param>
    /// <param name="ranges">Spans to merge in (any order, may overlap), or null for everything mergeable.</param>
    /// <exception cref="ArgumentException">The target is registered already, or the domain has no name.</exception>
    public RegisteredTarget Register(ITarget target, string domain, IReadOnlyList<PageRange>? ranges = null)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentException.ThrowIfNullOrEmpty(domain);
        if (_state.Targets.Exists(known => known.Target == target))
        {
            throw new ArgumentException($"process {target.Pid} is registered already", nameof(target));
        }

        var registered = new RegisteredTarget(_state, target, _state.OpenDomain(domain), Normalize(ranges));
        _state.Add(registered);
        registered.Refresh(force: true, _added);
        _shared.Adopt(registered, _added);
        return registered;
    }

    /// <summary>Forgets a target. The machine has detached it already, or the process has died.</summary>
    /// <exception cref="ArgumentException">The target is not registered here.</exception>
    public void Unregister(RegisteredTarget target)
    {
        ArgumentNullException.ThrowIfNull(target);
        if (!_state.Targets.Contains(target))
        {
            throw new ArgumentException($"process {target.Target.Pid} is not registered", nameof(target));
        }

        _pass.Leaves(target);
        target.Forget();
        _state.Remove(target);
        _state.TrimUnstable(atOnce: true);
        if (_state.Targets.Count == 0)
        {
            _state.Samples.Forget();
        }
    }

    /// <summary>One wake-up of background scanning, as the knobs pace it.</summary>
    /// <returns>How long to sleep until the next; <see cref="Timeout.InfiniteTimeSpan"/> while there is nothing to
    /// do at all (run is not 1, or no targets).</returns>
    public TimeSpan Step()
    {
        if (Knobs.Run != 1 || !_state.Targets.Exists(target => target.Target.IsAlive))
        {
            return Timeout.InfiniteTimeSpan;
        }

        _state.ObeyMappingsMax();
        _pacer.Begin(_budget);
        _executor.BeginRound();
        bool passEnded = _pass.Go(_budget);
        _executor.Flush();
        // A handful of pages that are written all the time (clocks, counters, stacks) is no reason to hurry.
        long scanned = _state.PagesScanned - _scannedAtPassEnd;
        bool foundWork = scanned > (long)_state.Pages.ChunksUsed * PageTable.ChunkPages / IdleShare;
        if (passEnded)
        {
            _scannedAtPassEnd = _state.PagesScanned;
            _state.TrimUnstable(atOnce: false);
        }

        TimeProvider clock = _state.Machine.Clock;
        if (clock.GetElapsedTime(_audited) >= AuditPause)
        {
            _audited = clock.GetTimestamp();
            _shared.Audit();
            _reclaimer.Step();
            _reclaimer.PruneChains();
        }

        return _pacer.End(passEnded, foundWork);
    }

    /// <summary>
    /// Scans and merges at once, without the wait for a second visit, until nothing is left to merge.
    /// </summary>
    /// <param name="only">Targets to scan; null for all. Equal pages of other registered targets are merged with them.
    /// </param>
    /// <param name="progress">Told now and then, may be null.</param>
    /// <param name="cancel">Ends it early with everything consistent.</param>
    public MergeReport Merge(
        IReadOnlyCollection<RegisteredTarget>? only, IProgress<EngineProgress>? progress, CancellationToken cancel)
    {
        RegisteredTarget[] targets = Chosen(only);
        _state.ObeyMappingsMax();
        long start = _state.Machine.Clock.GetTimestamp();
        TimeSpan cpu = _state.Machine.CpuTime;
        TargetMergeReport[] before = [.. _state.Targets.Select(Progress)];
        long savedBefore = Status().BytesSaved;
        bool complete = _merge.Run(targets, progress, cancel);
        _state.TrimUnstable(atOnce: true);
        _reclaimer.Step();

        var reports = new TargetMergeReport[_state.Targets.Count];
        for (int i = 0; i < reports.Length; i++)
        {
            TargetMergeReport after = Progress(_state.Targets[i]);
            reports[i] = after with
            {
                PagesMerged = after.PagesMerged - before[i].PagesMerged,
                ZeroPages = after.ZeroPages - before[i].ZeroPages,
                BytesSaved = Math.Max(0, after.BytesSaved - before[i].BytesSaved),
            };
        }

        return new MergeReport(
            reports.Sum(report => report.PagesMerged),
            reports.Sum(report => report.ZeroPages),
            Math.Max(0, Status().BytesSaved - savedBefore),
            _state.Machine.Clock.GetElapsedTime(start),
            _state.Machine.CpuTime - cpu,
            complete,
            reports);
    }

    /// <summary>Gives targets private copies of all their merged pages. They stay registered.</summary>
    /// <param name="only">Targets to un-merge; null for all.</param>
    /// <param name="progress">Told now and then, may be null.</param>
    /// <param name="cancel">Ends it early with everything consistent.</param>
    public UnmergeReport Unmerge(
        IReadOnlyCollection<RegisteredTarget>? only, IProgress<EngineProgress>? progress, CancellationToken cancel)
    {
        RegisteredTarget[] targets = Chosen(only);
        long start = _state.Machine.Clock.GetTimestamp();
        long total = targets.Sum(target => target.Pages.CountOf(PageState.Merged));
        _unmerger.Begin();
        foreach (RegisteredTarget target in targets)
        {
            _unmerger.Unmerge(
                target, () => progress?.Report(new EngineProgress("unmerge", _unmerger.Done, total)), cancel);
        }

        _reclaimer.All();
        progress?.Report(new EngineProgress("unmerge", _unmerger.Done, total));
        long left = targets.Sum(target => target.Pages.CountOf(PageState.Merged));
        return new UnmergeReport(
            _unmerger.Done, left, _state.Machine.Clock.GetElapsedTime(start), left == 0, LeftReasons());
    }

    private Dictionary<NotMergedReason, long> LeftReasons()
    {
        var reasons = new Dictionary<NotMergedReason, long>();
        for (int i = 0; i < _unmerger.Left.Length; i++)
        {
            if (_unmerger.Left[i] > 0)
            {
                reasons.Add((NotMergedReason)i, _unmerger.Left[i]);
            }
        }

        return reasons;
    }

    /// <summary>
    /// What run=2 means: <see cref="Unmerge"/> of everything; then all that was known about pages is forgotten, and
    /// every counter of pages is 0, full_scans too, as KSM does it. When scanning is turned on again, every page is
    /// looked at anew.
    /// </summary>
    /// <param name="progress">Told now and then, may be null.</param>
    /// <param name="cancel">Ends it early with everything consistent and nothing forgotten.</param>
    public UnmergeReport UnmergeAll(IProgress<EngineProgress>? progress, CancellationToken cancel)
    {
        UnmergeReport report = Unmerge(null, progress, cancel);
        if (report.Complete)
        {
            foreach (RegisteredTarget target in _state.Targets)
            {
                target.ForgetContents();
            }

            _pass.Restart();
            _state.ClearUnstable();
            _state.FullScans = 0;
            _scannedAtPassEnd = _state.PagesScanned;
        }

        return report;
    }

    /// <summary>
    /// Waits for what is being carried out in a target beside the engine and takes note of it: from then on, and until the
    /// engine goes on, what is known about the target's pages is what is mapped. May be called from a report of progress.
    /// </summary>
    /// <param name="target">A registered target.</param>
    public void Settle(RegisteredTarget target)
    {
        ArgumentNullException.ThrowIfNull(target);
        _state.UnderWay.CompleteIn(target);
    }

    /// <summary>A snapshot of all counters.</summary>
    public EngineStatus Status() => StatusReader.Read(_state, BuffersBytes);

    // Buffers that exist once whatever is registered: the page batch, plans (those under way too), runs, slots.
    private long BuffersBytes =>
        PageBatch.MemoryBytes + _executor.MemoryBytes + _state.UnderWay.MemoryBytes + (32 * 1024);

    private RegisteredTarget[] Chosen(IReadOnlyCollection<RegisteredTarget>? only)
    {
        if (only is not null && only.FirstOrDefault(target => !_state.Targets.Contains(target)) is { } stranger)
        {
            throw new ArgumentException($"process {stranger.Target.Pid} is not registered", nameof(only));
        }

        return [.. _state.Targets.Where(target => only is null || only.Contains(target))];
    }

    private TargetMergeReport Progress(RegisteredTarget target) => new(
        target.Target.Pid,
        target.Target.Name,
        target.Pages.MergedEver,
        target.Pages.ZeroedEver,
        (long)(StatusReader.PagesSavedIn(_state, target) * PageSize.Bytes));

    /// <summary>Sorts ranges and joins those that meet.</summary>
    private static List<PageRange>? Normalize(IReadOnlyList<PageRange>? ranges)
    {
        if (ranges is null)
        {
            return null;
        }

        var result = new List<PageRange>();
        foreach (PageRange range in ranges.Where(range => !range.IsEmpty).OrderBy(range => range.Start))
        {
            if (result.Count > 0 && result[^1].End >= range.Start)
            {
                result[^1] = result[^1] with { End = Math.Max(result[^1].End, range.End) };
            }
            else
            {
                result.Add(range);
            }
        }

        return result;
    }
}
