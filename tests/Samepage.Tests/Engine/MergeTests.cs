using Xunit;

namespace Samepage.Tests;

public class MergeTests
{
    [Fact]
    public void TwoEqualPagesBecomeOneStorePage()
    {
        var world = new World();
        MemoryProcess one = world.Start(1, _ => 7);
        MemoryProcess two = world.Start(1, _ => 7);

        MergeReport report = world.Merge();

        Assert.Equal(2, report.PagesMerged);
        Assert.Equal(PageSize.Bytes, report.BytesSaved);
        Assert.True(report.Complete);
        Assert.Equal((1, 1), (one.StorePages, two.StorePages));
        Assert.Equal((1, 1), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void PagesWithoutAnEqualStayWhereTheyAre()
    {
        var world = new World();
        MemoryProcess process = world.Start(100, page => page + 1);

        MergeReport report = world.Merge();

        Assert.Equal(0, report.PagesMerged);
        Assert.Equal(100, process.PrivatePages);
        Assert.Equal(100, world.Status.PagesUnshared);
        world.Check();
    }

    [Fact]
    public void EqualPagesOfOneProcessAreMergedToo()
    {
        var world = new World();
        MemoryProcess process = world.Start(1000, page => 1 + (page % 10));

        world.Merge();

        Assert.Equal(1000, process.StorePages);
        Assert.Equal((10, 990), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void EqualRunsAreMergedInOnePlanEach()
    {
        var world = new World();
        MemoryProcess one = world.Start(511, page => page + 1);
        MemoryProcess two = world.Start(511, page => page + 1, at: World.Base + 12345);

        world.Merge();

        Assert.Equal(1, one.Plans[PlanKind.Share]);
        Assert.Equal(1, two.Plans[PlanKind.Share]);
        Assert.Equal(511, world.Status.PagesSharing);
        world.Check();
    }

    [Fact]
    public void LongRunsBreakOnlyWhereTheStoreMustHaveAHole()
    {
        var world = new World();
        MemoryProcess one = world.Start(20_000, page => page + 1);
        MemoryProcess two = world.Start(20_000, page => page + 1);

        world.Merge();

        // A hole every 512 slots, and a cut where plans were started (the kernel joins mappings that meet there).
        Assert.InRange(one.Plans[PlanKind.Share], 40, 70);
        Assert.InRange(two.Plans[PlanKind.Share], 40, 70);
        world.Check();
    }

    [Fact]
    public void AJoiningPageContinuesTheRunBeforeItWhereItCan()
    {
        // Each content is there in two stretches of the store: a third process must follow one of them, not jump.
        var world = new World();
        world.Set("max_page_sharing", "2");
        world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Merge();
        world.Start(100, page => 100 - page);
        world.Start(100, page => 100 - page);
        world.Merge();
        world.Set("max_page_sharing", "256");

        MemoryProcess last = world.Start(100, page => page + 1);
        world.Merge();

        Assert.Equal(1, last.Plans[PlanKind.Share]);
        world.Check();
    }

    [Fact]
    public void AllZeroPagesAreTakenAway()
    {
        var world = new World();
        MemoryProcess process = world.Start(300, page => page < 200 ? 0 : page);

        MergeReport report = world.Merge();

        Assert.Equal(200, report.ZeroPages);
        Assert.Equal(200 * PageSize.Bytes, report.BytesSaved);
        Assert.Equal(200, world.Status.ZeroPages);
        Assert.Equal(1, process.Plans[PlanKind.Zero]);
        Assert.Equal(0, world.Machine.OpenStore("d").PagesUsed);
        world.Check();
    }

    [Fact]
    public void WithoutUseZeroPagesAllZeroPagesAreMergedLikeOthers()
    {
        var world = new World();
        world.Set("use_zero_pages", "0");
        world.Start(200, page => page % 2 == 0 ? 0 : page);

        world.Merge();

        Assert.Equal(0, world.Status.ZeroPages);
        Assert.Equal((1, 99), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void PagesAreSharedOnlyInsideADomain()
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1, domain: "a");
        world.Start(10, page => page + 1, domain: "b");

        world.Merge();

        Assert.Equal(0, world.Status.PagesShared);
        Assert.Equal(20, world.Status.NotMerged[NotMergedReason.OtherDomain]);

        MemoryProcess third = world.Start(10, page => page + 1, domain: "a");
        world.Merge();

        Assert.Equal((10, 10), (one.StorePages, third.StorePages));
        Assert.Equal([10, 0], world.Status.Domains.Select(domain => domain.PagesSharing));
        Assert.Equal(10, world.Status.NotMerged[NotMergedReason.OtherDomain]);
        world.Check();
    }

    [Fact]
    public void APageEqualToAStorePageOfAnotherDomainSaysSo()
    {
        var world = new World();
        world.Start(10, page => page + 1, domain: "a");
        world.Start(10, page => page + 1, domain: "a");
        world.Merge();

        world.Start(10, page => page + 1, domain: "b");
        world.Merge();

        Assert.Equal(10, world.Status.NotMerged[NotMergedReason.OtherDomain]);
        world.Check();
    }

    [Fact]
    public void OnlyTheRangesAskedForAreMerged()
    {
        var world = new World();
        var region = new PageRange(World.Base, World.Base + 100);
        MemoryProcess process = world.Machine.Start(region);
        process.Fill(region, _ => 5);
        RegisteredTarget target = world.Engine.Register(
            process,
            "d",
            [new(World.Base + 90, World.Base + 200), new(World.Base + 10, World.Base + 20),
                new(World.Base + 15, World.Base + 30)]);

        world.Merge();

        Assert.Equal(30, process.StorePages);
        Assert.Equal((30, 2), (target.Status().RegisteredPages, target.Status().Regions));
        world.Check();
    }

    [Fact]
    public void MergingChosenTargetsMergesTheirPartnersToo()
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1);
        world.Merge();
        MemoryProcess two = world.Start(10, page => page + 1);
        MemoryProcess three = world.Start(10, page => page + 1);

        MergeReport report = world.Engine.Merge(
            [world.Engine.Targets[1]], null, TestContext.Current.CancellationToken);

        Assert.Equal((10, 10, 0), (one.StorePages, two.StorePages, three.StorePages));
        Assert.Equal([10, 10, 0], report.Targets.Select(target => target.PagesMerged));
        Assert.Equal(report.BytesSaved, report.Targets.Sum(target => target.BytesSaved));
        world.Check();
    }

    [Fact]
    public void ATargetThatIsNotRegisteredIsRefused()
    {
        var world = new World();
        world.Start(1, _ => 1);
        RegisteredTarget gone = world.Engine.Targets[0];
        world.Engine.Unregister(gone);

        ArgumentException refused = Assert.Throws<ArgumentException>(
            () => world.Engine.Merge([gone], null, TestContext.Current.CancellationToken));
        Assert.Contains("not registered", refused.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => world.Engine.Unregister(gone));
    }

    [Fact]
    public void NoMoreStorePagesAreMadeThanAllowed()
    {
        var world = new World();
        world.Set("max_kernel_pages", "10");
        world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);

        world.Merge();

        Assert.Equal((10, 10), (world.Status.PagesShared, world.Status.PagesSharing));
        Assert.Equal(10, world.Machine.OpenStore("d").PagesUsed);
        Assert.Equal(90, world.Status.NotMerged[NotMergedReason.MaxKernelPages]);

        // Joining makes no new page; raising the limit lets the others in.
        world.Start(100, page => page + 1);
        world.Merge();
        Assert.Equal(20, world.Status.PagesSharing);
        world.Set("max_kernel_pages", "0");
        world.Merge();
        Assert.Equal((100, 200), (world.Status.PagesShared, world.Status.PagesSharing));
        Assert.False(world.Status.NotMerged.ContainsKey(NotMergedReason.MaxKernelPages));
        world.Check();
    }

    [Theory]
    [InlineData(2, 1000)]
    [InlineData(3, 1000)]
    public void AStorePageIsMappedNoMoreOftenThanAllowed(int limit, int pages)
    {
        var world = new World();
        world.Set("max_page_sharing", $"{limit}");
        MemoryProcess process = world.Start(pages, _ => 9);

        world.Merge();

        Assert.Equal(limit, process.SlotsMapped().GroupBy(slot => slot).Max(mappings => mappings.Count()));
        // One page may be left over: a new store page needs two.
        Assert.InRange(process.StorePages, pages - 1, pages);
        Assert.Equal((pages + limit - 1) / limit, world.Status.PagesShared + world.Status.PagesUnshared);
        world.Check();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AStretchThatRepeatsOnePageNeedsFewMappingsAndFewStorePages(bool atOnce)
    {
        var world = new World();
        MemoryProcess process = world.Start(20_000, _ => 0xAAAA_AAAA);
        if (atOnce)
        {
            world.Merge();
        }
        else
        {
            world.Passes(3);
        }

        Assert.InRange(process.StorePages, 19_990, 20_000);
        // KSM keeps 79 pages here, one for each 256, and maps each page by itself.
        Assert.InRange(world.Status.PagesShared, 79, 250);
        Assert.InRange(process.Plans[PlanKind.Share], 1, 2500);
        world.Check();
    }

    [Fact]
    public void AStorePageTakesMappingsAgainAfterHalfOfThemAreGone()
    {
        var world = new World();
        world.Set("max_page_sharing", "4");
        MemoryProcess process = world.Start(4, _ => 9);
        world.Merge();
        process.Write(World.Base, 100);
        process.Write(World.Base + 1, 101);
        world.Merge();

        MemoryProcess other = world.Start(2, _ => 9);
        world.Merge();

        Assert.Equal(2, other.StorePages);
        Assert.Equal(1, world.Status.PagesShared);
        world.Check();
    }

    [Fact]
    public void ProgressIsToldAndGrows()
    {
        var world = new World();
        world.Start(40_000, page => page + 1);
        world.Start(40_000, page => page + 1);
        var seen = new List<EngineProgress>();

        world.Engine.Merge(null, new Recorder(seen), TestContext.Current.CancellationToken);

        Assert.True(seen.Count >= 3);
        Assert.All(seen, progress => Assert.InRange(progress.PagesDone, 0, progress.PagesTotal));
        Assert.Equal(80_000, seen[^1].PagesDone);
    }

    [Fact]
    public void ACancelledMergeLeavesEverythingConsistent()
    {
        var world = new World();
        world.Start(40_000, page => page + 1);
        world.Start(40_000, page => page + 1);
        world.Start(40_000, page => page + 1);
        using var cancel = new CancellationTokenSource();

        MergeReport report = world.Engine.Merge(null, new Canceller(cancel, 90_000), cancel.Token);

        Assert.False(report.Complete);
        Assert.InRange(report.PagesMerged, 1, 119_999);
        world.Check();

        Assert.True(world.Merge().Complete);
        Assert.Equal(80_000, world.Status.PagesSharing);
        world.Check();
    }

    private sealed class Recorder(List<EngineProgress> seen) : IProgress<EngineProgress>
    {
        public void Report(EngineProgress value) => seen.Add(value);
    }

    private sealed class Canceller(CancellationTokenSource source, long at) : IProgress<EngineProgress>
    {
        public void Report(EngineProgress value)
        {
            if (value.PagesDone >= at)
            {
                source.Cancel();
            }
        }
    }
}
