namespace Samepage;

/// <summary>Finds identical pages in registered targets and merges them. Not thread-safe: one loop owns it.</summary>
public sealed class Engine
{
    private readonly IMachine _machine;
    private readonly List<RegisteredTarget> _targets = [];
    private readonly ulong _seed;

    /// <summary>An engine without targets.</summary>
    /// <param name="machine">What it works on.</param>
    /// <param name="knobs">Its settings.</param>
    /// <param name="seed">Seed of the page digests; secret, so that no target can craft collisions.</param>
    public Engine(IMachine machine, Knobs knobs, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(knobs);
        _machine = machine;
        _seed = seed;
        Knobs = knobs;
    }

    /// <summary>The settings.</summary>
    public Knobs Knobs { get; }

    /// <summary>Registered targets, in order of registration.</summary>
    public IReadOnlyList<RegisteredTarget> Targets => _targets;

    /// <summary>Takes a target under care and adopts pages of it that are already merged.</summary>
    /// <param name="target">The address space; not registered yet.</param>
    /// <param name="domain">Trust domain.</param>
    /// <param name="ranges">Spans to merge in, or null for everything mergeable.</param>
    public RegisteredTarget Register(ITarget target, string domain, IReadOnlyList<PageRange>? ranges = null) =>
        throw new NotImplementedException();

    /// <summary>Forgets a target. The machine has detached it already, or the process has died.</summary>
    public void Unregister(RegisteredTarget target) => throw new NotImplementedException();

    /// <summary>One wake-up of background scanning, as the knobs pace it.</summary>
    /// <returns>How long to sleep until the next; <see cref="Timeout.InfiniteTimeSpan"/> while there is nothing to
    /// do at all (run is not 1, or no targets).</returns>
    public TimeSpan Step() => throw new NotImplementedException();

    /// <summary>Scans and merges at once, without the wait for a second visit, until nothing is left to merge.</summary>
    /// <param name="only">Targets to scan; null for all. Equal pages of other registered targets are merged with them.</param>
    /// <param name="progress">Told now and then, may be null.</param>
    /// <param name="cancel">Ends it early with everything consistent.</param>
    public MergeReport Merge(
        IReadOnlyCollection<RegisteredTarget>? only, IProgress<EngineProgress>? progress, CancellationToken cancel) =>
        throw new NotImplementedException();

    /// <summary>Gives targets private copies of all their merged pages. They stay registered.</summary>
    /// <param name="only">Targets to un-merge; null for all.</param>
    /// <param name="progress">Told now and then, may be null.</param>
    /// <param name="cancel">Ends it early with everything consistent.</param>
    public UnmergeReport Unmerge(
        IReadOnlyCollection<RegisteredTarget>? only, IProgress<EngineProgress>? progress, CancellationToken cancel) =>
        throw new NotImplementedException();

    /// <summary>A snapshot of all counters.</summary>
    public EngineStatus Status() => throw new NotImplementedException();
}
