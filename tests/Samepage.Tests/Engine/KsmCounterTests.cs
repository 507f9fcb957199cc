using Xunit;

namespace Samepage.Tests;

/// <summary>Counters and settings that exist for KSM's admin files: chains, smart_scan, run=2, the scan-time advisor.
/// </summary>
public class KsmCounterTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void RunTwoMakesEveryCounterZeroAndScanningFindsEverythingAgain()
    {
        var world = new World();
        MemoryProcess one = world.Start(600, page => page < 500 ? page : 10_000 + page);
        MemoryProcess two = world.Start(600, page => page < 500 ? page : 20_000 + page);
        world.Passes(3);
        EngineStatus before = world.Status;
        Assert.Equal((499, 2, 200), (before.PagesShared, before.ZeroPages, before.PagesUnshared));
        Assert.True(before.BytesSaved - before.PageRecordBytes > 0);

        world.Set("run", "2");
        Assert.True(world.Engine.UnmergeAll(null, Token).Complete);

        EngineStatus stopped = world.Status;
        Assert.Equal((0, 0, 0, 0, 0),
            (stopped.PagesShared, stopped.PagesSharing, stopped.PagesUnshared, stopped.PagesVolatile,
                stopped.ZeroPages));
        Assert.Equal((0, 0, 0), (stopped.StorePages, stopped.FullScans, stopped.PageRecordBytes));
        Assert.Equal((0, 0), (stopped.StableNodeChains, stopped.StableNodeDups));
        Assert.Equal((0, 0), (one.StorePages, two.StorePages));
        Assert.Equal(before.PagesScanned, stopped.PagesScanned);
        world.Check();

        // Nobody has written anything since, so the machine lists nothing anew: the engine has to remember what to ask.
        world.Set("run", "1");
        one.Write(World.Base + 3, 5);
        world.Passes(6);
        // Candidates of before are candidates again, and so is the page that has lost its partner by the write.
        Assert.Equal(201, world.Status.PagesUnshared);
        Assert.Equal(499, one.StorePages);
        world.Check();
    }

    [Fact]
    public void AnInterruptedRunTwoForgetsNothing()
    {
        var world = new World();
        world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Passes(3);
        using var cancel = new CancellationTokenSource();
        cancel.Cancel();

        Assert.False(world.Engine.UnmergeAll(null, cancel.Token).Complete);

        Assert.Equal((100, 100), (world.Status.PagesShared, world.Status.PagesSharing));
        Assert.True(world.Status.FullScans > 0);
        world.Check();
    }

    [Fact]
    public void ContentsWithMoreThanOneStorePageAreCountedAsChains()
    {
        var world = new World();
        world.Set("max_page_sharing", "4");
        world.Set("use_zero_pages", "0");
        // 21 pages of each of two contents, 3 of a third, 2 times 50 different ones.
        MemoryProcess one = world.Start(45, page => page < 42 ? 1 + (page % 2) : 3);
        world.Start(50, page => page + 100);
        world.Start(50, page => page + 100);
        world.Passes(4);
        long CountSlots(ulong content) => one.SlotsMapped().Distinct()
            .Count(slot => world.Machine.OpenStore("d").ContentOf(slot).First == content);
        long[] counted = [CountSlots(1), CountSlots(2), CountSlots(3)];

        Assert.True(counted[0] >= 5 && counted[1] >= 5, string.Join(' ', counted));
        Assert.Equal(2, world.Status.StableNodeChains);
        Assert.Equal(counted[0] + counted[1], world.Status.StableNodeDups);

        world.Engine.UnmergeAll(null, Token);
        Assert.Equal((0, 0), (world.Status.StableNodeChains, world.Status.StableNodeDups));
    }

    [Theory]
    [InlineData(0, 16)]
    [InlineData(1, 7)]
    public void SmartScanTriesWhatFailsToMergeMoreAndMoreSeldom(int smartScan, int triesMax)
    {
        var world = new World();
        world.Set("smart_scan", $"{smartScan}");
        MemoryProcess one = world.Start(10, page => page + 1);
        world.Start(10, page => page + 1);
        world.Machine.Inject(MemoryFault.Pinned, process: one, page: World.Base + 4);
        world.Passes(4);
        long read = one.PagesRead;
        long skipped = world.Status.PagesSkipped;

        world.Passes(16);

        long tries = one.PagesRead - read;
        if (smartScan == 0)
        {
            Assert.Equal(16, tries);
            Assert.Equal(0, world.Status.PagesSkipped);
        }
        else
        {
            Assert.InRange(tries, 1, triesMax);
            Assert.Equal(16 - tries, world.Status.PagesSkipped - skipped);
        }

        world.Check();
    }

    [Fact]
    public void TheScanTimeAdvisorComesToPassesOfTheTargetTime()
    {
        var world = new World();
        world.Machine.CpuPerPage = TimeSpan.FromMicroseconds(10);
        world.Set("smart_scan", "0");
        MemoryProcess process = world.Start(20_000, page => page + 1);
        world.Set("advisor_min_pages_to_scan", "10");
        world.Set("advisor_target_scan_time", "2");
        world.Set("advisor_mode", "scan-time");
        Assert.Equal(10u, world.Knobs.PagesToScan);
        var random = new Random(1);

        TimeSpan pass = default;
        for (int i = 0; i < 60; i++)
        {
            // Every page is written before each pass: every pass has as much to do.
            process.Fill(new PageRange(World.Base, World.Base + 20_000), _ => (ulong)random.NextInt64());
            TimeSpan start = world.Machine.Time.Now;
            world.Passes(1);
            pass = world.Machine.Time.Now - start;
        }

        Assert.InRange(pass.TotalSeconds, 1.2, 3.2);
        Assert.True(world.Knobs.PagesToScan > 10);
    }

    [Fact]
    public void TheScanTimeAdvisorStaysBetweenItsBounds()
    {
        var world = new World();
        MemoryProcess process = world.Start(5000, page => page + 1);
        world.Set("advisor_min_pages_to_scan", "40");
        world.Set("advisor_max_pages_to_scan", "60");
        world.Set("advisor_target_scan_time", "1");
        world.Set("advisor_mode", "scan-time");
        for (ulong i = 0; i < 5; i++)
        {
            process.Fill(new PageRange(World.Base, World.Base + 5000), page => page + (i * 100_000));
            world.Passes(1);
            Assert.InRange(world.Knobs.PagesToScan, 40u, 60u);
        }
    }

    [Fact]
    public void SleepOfMicrosecondsIsObeyed()
    {
        var world = new World();
        world.Set("pages_to_scan", "10");
        world.Knobs.SleepMicroseconds = 150;
        world.Start(100, page => page + 1);

        Assert.Equal(TimeSpan.FromMicroseconds(150), world.Engine.Step());
        Assert.Equal("0.15", world.Knobs.Get("sleep_millisecs"));
    }

    [Fact]
    public void TwinsThatNobodyMapsAreFreedAtThePaceOfPruning()
    {
        var world = new World();
        world.Set("max_page_sharing", "2");
        world.Set("stable_node_chains_prune_millisecs", "3000");
        MemoryProcess one = world.Start(8, _ => 7);
        world.Passes(4);
        long twins = world.Status.StorePages;
        Assert.True(twins >= 4, $"{twins}");
        one.Fill(new PageRange(World.Base, World.Base + 6), page => page);
        world.Passes(2);
        Assert.Equal(twins, world.Status.StorePages);

        world.Machine.Time.Advance(TimeSpan.FromSeconds(4));
        world.Passes(1);

        // With so few slots nobody but the pruning asks before 16 seconds.
        Assert.Equal(world.Status.PagesShared, world.Status.StorePages);
        Assert.True(world.Status.StableNodeDups < twins);
        world.Check();
    }
}
