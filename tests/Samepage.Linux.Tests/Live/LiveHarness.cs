using System.Diagnostics;
using Samepage.Daemon.Live;
using Samepage.Linux.Tests.Support;
using KeeperFixture = Samepage.Linux.Tests.Keeper.KeeperFixture;

namespace Samepage.Linux.Tests.Live;

/// <summary>Tests that merge live processes run one after another: each of them wants both CPUs.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class LiveTestsOneByOne
{
    public const string Name = "live";
}

/// <summary>How often pages were merged and un-merged in a run.</summary>
internal sealed record LoopCounts(long Rounds, long Merged, long Zeroed, long Unmerged)
{
    public override string ToString() =>
        $"{Rounds} rounds: {Merged} pages merged, {Zeroed} zero pages, {Unmerged} un-merged";
}

/// <summary>
/// Engine, live machine and a keeper of its own in this process, and what has to be true of every process that was
/// attached: <see cref="Detach"/> fails when it leaves anything behind.
/// </summary>
internal sealed class LiveHarness : IDisposable
{
    private const int RoundsMin = 6;
    /// <summary>The engine's secret, which tests may know.</summary>
    public const ulong Seed = 0x5A3E_9A6E;

    private readonly KeeperLink _link;
    private readonly Dictionary<RegisteredTarget, ProcessTrace> _traces = [];

    public LiveHarness(Func<LiveMachineOptions, LiveMachineOptions>? configure = null, params string[] keeperOptions)
    {
        Puppet.SkipUnlessRoot();
        Keeper = new KeeperFixture(keeperOptions);
        _link = new KeeperLink(Keeper.Start);
        // Other programs on the machine may keep a thread from reaching its stop for long: tests are patient.
        var options = new LiveMachineOptions { Keeper = _link, StopLimit = TimeSpan.FromMilliseconds(100) };
        Machine = LiveMachine.Open(configure?.Invoke(options) ?? options);
        Engine = new Engine(Machine, new Knobs(), Seed);
    }

    public KeeperFixture Keeper { get; }

    public LiveMachine Machine { get; }

    public Engine Engine { get; }

    /// <summary>Minutes every endless test is to take instead of seconds; null in a usual run.</summary>
    public static double? SoakMinutes =>
        double.TryParse(Environment.GetEnvironmentVariable("SAMEPAGE_SOAK_MINUTES"), out double minutes) ? minutes : null;

    /// <summary>How long to go on: the given seconds, or what SAMEPAGE_SOAK_MINUTES says.</summary>
    public static TimeSpan Time(double seconds) =>
        SoakMinutes is { } minutes ? TimeSpan.FromMinutes(minutes) : TimeSpan.FromSeconds(seconds);

    /// <summary>Attaches all of a process's memory, or only some of it.</summary>
    public RegisteredTarget Attach(Victim victim, IReadOnlyList<PageRange>? ranges = null, string? domain = null) =>
        Attach(victim.Pid, ranges, domain);

    /// <summary>A victim that maps and unmaps its region all the time may be without it just when it is attached.</summary>
    private LiveTarget AttachWhileItMoves(int pid, AttachRequest request)
    {
        const int attempts = 100;
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                return Machine.Attach(pid, request);
            }
            catch (TargetException error) when (error.Error == TargetError.NoSuchRegion && attempt < attempts)
            {
                Thread.Sleep(5);
            }
        }
    }

    /// <summary>The same for any process.</summary>
    public RegisteredTarget Attach(int pid, IReadOnlyList<PageRange>? ranges = null, string? domain = null)
    {
        ProcessTrace trace = ProcessTrace.Of(pid);
        LiveTarget target = AttachWhileItMoves(pid, new AttachRequest { Domain = domain, Ranges = ranges });
        RegisteredTarget registered = Engine.Register(target, target.Domain, ranges);
        _traces.Add(registered, trace);
        return registered;
    }

    /// <summary>Masks of blocked signals that the victim's threads have at times, though perhaps not when it was attached.</summary>
    public void ExpectMasks(RegisteredTarget target, params ReadOnlySpan<string> masks) =>
        _traces[target].ExpectMasks(masks);

    public MergeReport Merge() => Engine.Merge(null, null, CancellationToken.None);

    public UnmergeReport Unmerge() => Engine.Unmerge(null, null, CancellationToken.None);

    /// <summary>Merges (twice, the second time what was written meanwhile) and un-merges again and again.</summary>
    public LoopCounts MergeAndUnmergeUntil(Func<bool> isEnough) => MergeAndUnmergeUntil(_ => isEnough());

    private LoopCounts MergeAndUnmergeUntil(Func<long, bool> isEnough)
    {
        long rounds = 0, merged = 0, zeroed = 0, unmerged = 0;
        for (; !isEnough(merged); rounds++)
        {
            MergeReport report = Merge();
            merged += report.PagesMerged;
            zeroed += report.ZeroPages;
            if (rounds % 2 == 1)
            {
                unmerged += Unmerge().PagesUnmerged;
            }
        }

        return new LoopCounts(rounds, merged, zeroed, unmerged);
    }

    /// <summary>The given time, and up to ten times longer where a busy machine merges too little in it.</summary>
    public LoopCounts MergeAndUnmergeFor(double seconds, int pages = 0)
    {
        var watch = Stopwatch.StartNew();
        TimeSpan time = Time(seconds);
        int rounds = 0;
        return MergeAndUnmergeUntil(merged =>
            (rounds++ >= RoundsMin && merged >= pages && watch.Elapsed >= time) || watch.Elapsed >= time * 10);
    }

    /// <summary>Goes on until the victim has checked that many operations (and for the soak time).</summary>
    public LoopCounts MergeAndUnmergeFor(Victim victim, long operations, TimeSpan limit)
    {
        var watch = Stopwatch.StartNew();
        long goal = victim.Report().Operations + operations;
        TimeSpan least = Time(0), nextLook = TimeSpan.Zero;
        int rounds = 0;
        return MergeAndUnmergeUntil(() =>
        {
            if (rounds++ < RoundsMin || watch.Elapsed < nextLook || watch.Elapsed < least)
            {
                return false;
            }

            nextLook = watch.Elapsed + TimeSpan.FromMilliseconds(300);
            long done = victim.Report().Operations;
            return done >= goal || (watch.Elapsed > limit + least
                ? throw new TimeoutException($"{goal - done} operations of {operations} still to do after {watch.Elapsed}")
                : false);
        });
    }

    /// <summary>Un-merges, detaches, and looks for anything of ours in the process.</summary>
    public void Detach(RegisteredTarget target)
    {
        var live = (LiveTarget)target.Target;
        Samepage.Linux.Proc.FileIdentity store = Machine.Store(target.Domain).Identity;
        UnmergeReport report = Engine.Unmerge([target], null, CancellationToken.None);
        Assert.True(report.Complete, $"{report.PagesLeft} pages could not be un-merged");
        Assert.Equal(0, Machine.Detach(live));
        Engine.Unregister(target);
        _traces[target].AssertNothingLeft(store);
        _traces.Remove(target);
    }

    /// <summary>
    /// The same where the process has descriptors that may write its memory by themselves (io_uring, aio): there the once
    /// merged mappings stay, with private pages and served by the keeper.
    /// </summary>
    /// <returns>Pages in mappings that stay.</returns>
    public int DetachAsyncWriter(RegisteredTarget target)
    {
        UnmergeReport report = Engine.Unmerge([target], null, CancellationToken.None);
        Assert.True(report.Complete, $"{report.PagesLeft} pages could not be un-merged");
        int left = Machine.Detach((LiveTarget)target.Target);
        Engine.Unregister(target);
        _traces[target].AssertThreadsAsBefore();
        _traces.Remove(target);
        return left;
    }

    public void DetachAll()
    {
        foreach (RegisteredTarget target in Engine.Targets.ToArray())
        {
            Detach(target);
        }
    }

    public void Dispose()
    {
        _link.Dispose();
        Machine.Dispose();
        Keeper.Dispose();
    }
}
