using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// A garbage collection in the daemon does not make a target wait: from the first interrupt to the last detach one
/// native routine runs, which a collection neither waits for nor holds up.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class GarbageCollectionTests(ITestOutputHelper output)
{
    [Fact]
    public void Heavy_allocation_does_not_stretch_the_stops()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("writers", ["--threads", "3", "--pages", "4096"]);
        RegisteredTarget target = harness.Attach(victim);
        int collections = GC.CollectionCount(2);
        TimeSpan paused = GC.GetTotalPauseDuration();
        using var stop = new CancellationTokenSource();
        var allocator = new Thread(() => Allocate(stop.Token)) { IsBackground = true };
        allocator.Start();
        LoopCounts counts = harness.MergeAndUnmergeFor(4);
        stop.Cancel();
        allocator.Join();
        collections = GC.CollectionCount(2) - collections;
        paused = GC.GetTotalPauseDuration() - paused;
        StopHistogram stops = harness.Machine.StopTimes;
        output.WriteLine($"{collections} full collections, {paused.TotalMilliseconds:0} ms paused; {counts}");
        output.WriteLine($"{stops.Count} stops: median {stops.Percentile(0.5) / 1000} us, 99 % {stops.Percentile(0.99) / 1000} us, "
            + $"longest {stops.MaxNanoseconds / 1000} us");
        harness.Detach(target);
        Assert.Equal(0, victim.Quit().Report.Errors);
        Assert.True(collections >= 3, $"only {collections} full collections");
        Assert.True(stops.Count > 100, $"only {stops.Count} stops");
        Assert.SkipWhen(MachineLoad.Factor > 3, $"the machine is too busy ({MachineLoad.Factor:0.0} times its CPUs) to measure stops");
        // On an idle machine the worst stop stays below 10 ms. On a busy one other programs take the CPUs away, but from the
        // collections, too: a stop that had one inside would be as long as that.
        double collection = paused.TotalMilliseconds / collections;
        Assert.InRange(stops.MaxNanoseconds / 1e6, 0, Math.Max(10, collection));
    }

    /// <summary>Keeps about 60 MB of small objects alive and replaces them all the time.</summary>
    private static void Allocate(CancellationToken stop)
    {
        var kept = new byte[20_000][][];
        for (int i = 0; !stop.IsCancellationRequested; i = (i + 1) % kept.Length)
        {
            kept[i] = [.. Enumerable.Range(0, 30).Select(_ => new byte[80])];
            if (i == kept.Length - 1)
            {
                GC.Collect(2, GCCollectionMode.Forced, blocking: true);
            }
        }
    }
}
