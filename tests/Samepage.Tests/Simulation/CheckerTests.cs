using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>The shared checker says what is wrong, and nothing else.</summary>
public class CheckerTests
{
    private readonly List<Violation> _wrong = [];

    [Fact]
    public void WrongBytesAndWritableSharedPagesAreSeen()
    {
        var process = new Observed(
            new ObservedPage(1, 5, 5, false, true),
            new ObservedPage(2, 5, 6, false, true),
            new ObservedPage(3, 7, 7, true, false, "d", 1),
            new ObservedPage(4, 7, 7, true, true, "d", 1));
        MemoryChecker.CheckPages([process, new Observed(new ObservedPage(2, 5, 6, false, true)) { IsAlive = false }], _wrong);
        Assert.Equal(["contents", "read-only"], _wrong.Select(each => each.Check));
        Assert.Contains("page 2", _wrong[0].What, StringComparison.Ordinal);
        Assert.Contains("page at 4", _wrong[1].What, StringComparison.Ordinal);
    }

    [Fact]
    public void EqualPagesThatAreNotMergedAreSeen()
    {
        var one = new Observed(new ObservedPage(1, 5, 5, false, true), new ObservedPage(2, 6, 6, false, true));
        var two = new Observed(new ObservedPage(1, 5, 5, true, false, "d", 1), new ObservedPage(9, 6, 6, false, true));
        MemoryChecker.CheckConverged("d", [one, two], (_, page) => page != 9, _wrong);
        Assert.Empty(_wrong);
        MemoryChecker.CheckConverged("d", [one, two], (_, _) => true, _wrong);
        Assert.Contains("page 9", Assert.Single(_wrong).What, StringComparison.Ordinal);
    }

    [Fact]
    public void CountersThatDoNotAddUpAreSeen()
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1);
        world.Start(10, page => page + 1);
        world.Merge();
        Check(world);
        Assert.Empty(_wrong);

        // Behind the engine's back.
        one.Drop(World.Base);
        Check(world);
        Assert.Contains(_wrong, each => each.Check == "counters" && each.What.Contains("merged pages", StringComparison.Ordinal));
    }

    private void Check(World world) => MemoryChecker.CheckCounters(
        world.Status,
        [.. world.Engine.Targets.Select(target => target.Status())],
        [.. world.Engine.Targets.Select(target => (IObservedProcess)target.Target)],
        (_, _) => true,
        _wrong);

    private sealed class Observed(params ObservedPage[] pages) : IObservedProcess
    {
        public string Name => "p";

        public bool IsAlive { get; init; } = true;

        public IEnumerable<ObservedPage> Observe() => pages;
    }
}
