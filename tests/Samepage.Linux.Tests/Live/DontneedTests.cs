using Samepage.Linux.Tests.Support;
using DetachedProcess = Samepage.Linux.Tests.Support.DetachedProcess;
using KeeperFixture = Samepage.Linux.Tests.Keeper.KeeperFixture;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// madvise(MADV_DONTNEED) on merged memory. The mapping is one of the store, so without the keeper the dropped page would
/// come back with the store's bytes; programs (and allocators) rely on zeros.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class DontneedTests(ITestOutputHelper output)
{
    private const int LongestWaitMicroseconds = 1_000_000;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    [Theory]
    [InlineData(0, false)]
    [InlineData(3, false)]
    [InlineData(0, true)]
    [InlineData(2, true)]
    public void Dropped_pages_read_as_zeros(int threads, bool forks)
    {
        using var harness = new LiveHarness();
        using CVictim victim = Start(threads, forks);
        RegisteredTarget target = harness.Attach(victim);
        LoopCounts counts = harness.MergeAndUnmergeFor(3);
        harness.Detach(target);
        VictimReport report = Finish(victim, counts);
        Assert.Equal(forks, report.Detail("children", "all")["forked"] > 0);
        Assert.True(counts.Merged > 500, counts.ToString());
    }

    [Fact]
    public void A_dotnet_program_that_drops_pages_reads_zeros()
    {
        using var harness = new LiveHarness();
        using var victim = Victim.Start("--mode", "dontneed", "--pages", "1024", "--threads", "4");
        RegisteredTarget target = harness.Attach(victim, victim.Regions);
        LoopCounts counts = harness.MergeAndUnmergeFor(3);
        harness.Detach(target);
        Finish(victim, counts);
        Assert.True(counts.Merged > 500, counts.ToString());
    }

    [Fact]
    public void Jemalloc_gets_the_zeros_it_relies_on()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("calloc_zero", ["--threads", "3"], preload: Jemalloc.PathOrSkip());
        RegisteredTarget target = harness.Attach(victim);
        LoopCounts counts = harness.MergeAndUnmergeFor(4);
        harness.Detach(target);
        Finish(victim, counts);
        Assert.True(counts.Merged > 500, counts.ToString());
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(3, true)]
    public void While_the_keeper_is_killed_and_replaced_nobody_sees_stale_bytes(int threads, bool forks)
    {
        using var harness = new LiveHarness();
        using CVictim victim = Start(threads, forks);
        RegisteredTarget target = harness.Attach(victim);
        var random = new Random(threads);
        var watch = System.Diagnostics.Stopwatch.StartNew();
        long merged = 0;
        int kills = 0;
        // Merging pauses now and then: a page merged and dropped must get its zeros from the next keeper, too.
        for (TimeSpan time = LiveHarness.Time(6); watch.Elapsed < time || kills < 10; kills++)
        {
            merged += harness.MergeAndUnmergeUntil(Once()).Merged;
            int killed = Kill(harness);
            DetachedProcess.WaitUntil(() => Keeper(harness) is > 0 and var now && now != killed, Limit, "no new keeper");
            // Time to serve, or the waits for several keepers would add up.
            Thread.Sleep(100 + random.Next(200));
        }

        VictimReport seen = victim.Report();
        harness.Detach(target);
        VictimReport report = Finish(victim, new LoopCounts(kills, merged, 0, 0));
        long wait = seen.Detail("wait", "longest")["us"];
        output.WriteLine($"{kills} keepers killed, {merged} pages merged, longest wait {wait} us");
        Assert.Equal(forks, report.Detail("children", "all")["forked"] > 0);
        Assert.True(merged > 500, $"only {merged} pages merged");
        Assert.InRange(wait, 0, LongestWaitMicroseconds * MachineLoad.Factor);
    }

    private static CVictim Start(int threads, bool forks) => CVictim.Start(
        "dontneed", ["--threads", $"{threads}", .. forks ? ["--call", "fork"] : Array.Empty<string>()]);

    private static Func<bool> Once()
    {
        int calls = 0;
        return () => calls++ == 1;
    }

    private static int Kill(LiveHarness harness)
    {
        int keeper = Keeper(harness);
        if (keeper != 0)
        {
            KeeperFixture.Kill(keeper);
        }

        return keeper;
    }

    private static int Keeper(LiveHarness harness) =>
        Samepage.Linux.Keeper.KeeperSocket.IsServed(harness.Keeper.SocketPath, out int keeper) ? keeper : 0;

    private VictimReport Finish(Victim victim, LoopCounts counts)
    {
        (VictimReport report, int exitCode) = victim.Quit();
        output.WriteLine($"{report}; {counts}");
        Assert.True(report.Operations > 0, report.ToString());
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
        return report;
    }
}
