using Xunit;

namespace Samepage.Tests;

public class UnmergeTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void UnmergingGivesEveryPageItsPrivateCopyBackAndTheStoreItsMemory()
    {
        var world = new World();
        MemoryProcess one = world.Start(1000, page => page / 2);
        MemoryProcess two = world.Start(1000, page => page / 2);
        world.Merge();
        one.Write(World.Base + 7, 12345);

        UnmergeReport report = world.Engine.Unmerge(null, null, Token);

        Assert.True(report.Complete);
        // Two zero pages each stay away, one page was broken.
        Assert.Equal((0, 0), (one.StorePages, two.StorePages));
        Assert.Equal((998, 998), (one.PrivatePages, two.PrivatePages));
        Assert.Equal((0, 0), (world.Status.PagesShared, world.Status.ZeroPages));
        Assert.Equal(0, world.Machine.OpenStore("d").PagesUsed);
        world.Check();

        // They stay registered.
        world.Merge();
        Assert.Equal(998 + 998 - 1, one.StorePages + two.StorePages);
        world.Check();
    }

    [Fact]
    public void UnmergingOneTargetLeavesTheOthersMerged()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(100, page => page + 1);
        MemoryProcess three = world.Start(100, page => page + 1);
        world.Merge();

        UnmergeReport report = world.Engine.Unmerge([world.Engine.Targets[1]], null, Token);
        world.Engine.Unregister(world.Engine.Targets[1]);

        Assert.Equal(100, report.PagesUnmerged);
        Assert.Equal((100, 0, 100), (one.StorePages, two.StorePages, three.StorePages));
        Assert.Equal((100, 100), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void PagesThatCannotBeUnmergedAreReportedWithTheirReason()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(100, page => page + 1);
        world.Merge();
        world.Machine.Inject(MemoryFault.TargetBusy, process: one);
        world.Machine.Inject(MemoryFault.Refused, process: two, page: World.Base + 3);

        UnmergeReport report = world.Engine.Unmerge(null, null, Token);

        Assert.False(report.Complete);
        Assert.Equal((99, 101), (report.PagesUnmerged, report.PagesLeft));
        Assert.Equal(100, report.Left[NotMergedReason.TargetBusy]);
        Assert.Equal(1, report.Left[NotMergedReason.Refused]);
        world.Check();

        world.Machine.ClearFaults();
        Assert.True(world.Engine.Unmerge(null, null, Token).Complete);
        world.Check();
    }

    [Fact]
    public void ABusyTargetIsAskedMoreThanOnce()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Merge();
        world.Machine.Inject(MemoryFault.TargetBusy, times: 2, process: one);

        Assert.True(world.Engine.Unmerge(null, null, Token).Complete);
        world.Check();
    }

    [Fact]
    public void UnmergingADeadTargetForgetsIt()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Merge();
        one.Exit();

        Assert.True(world.Engine.Unmerge(null, null, Token).Complete);
        world.Check();
    }
}
