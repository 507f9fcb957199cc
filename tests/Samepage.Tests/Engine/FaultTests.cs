using Xunit;

namespace Samepage.Tests;

public class FaultTests
{
    [Theory]
    [InlineData(MemoryFault.Pinned, NotMergedReason.Pinned)]
    [InlineData(MemoryFault.ThreadArea, NotMergedReason.ThreadArea)]
    [InlineData(MemoryFault.Refused, NotMergedReason.Refused)]
    [InlineData(MemoryFault.WrittenBeforeExecute, NotMergedReason.ContentChanged)]
    public void APageThatFailsIsCountedUnderItsReasonAndTheRestOfItsRunIsMerged(
        MemoryFault fault, NotMergedReason reason)
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Machine.Inject(fault, process: one, page: World.Base + 40);

        world.Passes(2);

        Assert.Equal(99, world.Status.PagesSharing);
        Assert.Equal(1, world.Status.NotMerged[reason]);
        Assert.Equal(1, world.Engine.Targets[0].Status().NotMerged[reason]);
        Assert.Equal(2, one.Plans[PlanKind.Share]);
        world.Check();
    }

    [Theory]
    [InlineData(MemoryFault.Pinned)]
    [InlineData(MemoryFault.ThreadArea)]
    [InlineData(MemoryFault.Refused)]
    [InlineData(MemoryFault.OverVmaBudget)]
    [InlineData(MemoryFault.AsyncWriters)]
    [InlineData(MemoryFault.TargetBusy)]
    public void APageThatFailedIsTriedAgainMoreAndMoreSeldomUntilItCanBeMerged(MemoryFault fault)
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1);
        world.Start(10, page => page + 1);
        world.Machine.Inject(fault, process: one);

        world.Passes(500);

        Assert.Equal((10, 0), (world.Status.PagesShared, world.Status.PagesSharing));
        Assert.InRange(one.PagesRead, 40, 150);
        world.Machine.ClearFaults();
        world.Passes(300);

        Assert.Equal(10, world.Status.PagesSharing);
        Assert.Empty(world.Status.NotMerged);
        world.Check();
    }

    [Theory]
    [InlineData(MemoryFault.TargetBusy)]
    [InlineData(MemoryFault.ThreadArea)]
    [InlineData(MemoryFault.WrittenBeforeExecute)]
    public void ASynchronousMergeGetsOverWhatPasses(MemoryFault fault)
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(100, page => page + 1);
        world.Start(100, page => 0xBAD0_0000_0000_0000 + World.Base + page);
        world.Machine.Inject(fault, times: 1, process: two);

        world.Merge();

        Assert.Equal((100, 100), (one.StorePages, two.StorePages));
        world.Check();
    }

    [Fact]
    public void OverTheVmaBudgetTheWholeRestOfThePlanIsGivenUp()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Machine.Inject(MemoryFault.OverVmaBudget, process: one, page: World.Base + 40);

        world.Passes(2);

        Assert.Equal(40, one.StorePages);
        Assert.Equal(60, world.Status.NotMerged[NotMergedReason.OverVmaBudget]);
        Assert.Equal(1, one.Plans[PlanKind.Share]);
        world.Check();
    }

    [Fact]
    public void ATargetThatExitsWhileItIsStoppedIsForgotten()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Machine.Inject(MemoryFault.TargetExits, times: 1, process: one);

        world.Passes(4);

        Assert.False(one.IsAlive);
        Assert.Equal((100, 100), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void APageThatVanishesBeforeItsPlanIsForgotten()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Machine.Inject(MemoryFault.DroppedBeforeExecute, process: one, page: World.Base + 40);

        world.Passes(2);
        Assert.Equal(99, world.Status.PagesSharing);
        world.Machine.ClearFaults();
        world.Passes(60);

        Assert.Equal(99, world.Status.PagesSharing);
        Assert.Empty(world.Status.NotMerged);
        world.Check();
    }

    [Fact]
    public void WithoutMemoryForStorePagesNothingIsMergedAndLaterEverything()
    {
        var world = new World();
        world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Machine.Inject(MemoryFault.StoreFull);

        MergeReport report = world.Merge();

        Assert.Equal((0, 0), (report.PagesMerged, world.Status.StorePages));
        Assert.Equal(200, world.Status.NotMerged[NotMergedReason.Refused]);
        world.Check();

        world.Machine.ClearFaults();
        world.Merge();
        Assert.Equal(100, world.Status.PagesSharing);
        world.Check();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ATornReadNeverDoesHarm(bool atOnce)
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(100, page => page + 1);
        world.Machine.Inject(MemoryFault.TornRead, times: 50, process: one);
        world.Machine.Inject(MemoryFault.TornRead, times: 50, process: two);
        if (atOnce)
        {
            world.Merge();
        }
        else
        {
            world.Passes(10);
        }

        world.Check();

        // What was torn was being written: the machine lists it again.
        one.Fill(new PageRange(World.Base, World.Base + 100), page => page - World.Base + 1);
        two.Fill(new PageRange(World.Base, World.Base + 100), page => page - World.Base + 1);
        world.Passes(10);
        Assert.Equal((100, 100), (one.StorePages, two.StorePages));
        world.Check();
    }

    [Fact]
    public void PagesThatCannotBeReadAreLeftOut()
    {
        var world = new World();
        MemoryProcess one = world.Start(300, page => page + 1);
        world.Start(300, page => page + 1);
        world.Machine.Inject(MemoryFault.ReadFails, process: one, page: World.Base);
        world.Machine.Inject(MemoryFault.ReadFails, process: one, page: World.Base + 127);
        world.Machine.Inject(MemoryFault.ReadFails, process: one, page: World.Base + 128);
        world.Machine.Inject(MemoryFault.ReadFails, process: one, page: World.Base + 299);

        world.Merge();

        Assert.Equal(296, world.Status.PagesSharing);
        world.Check();
    }

    [Fact]
    public void AMachineThatDoesNotCompareIsCaught()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Machine.Inject(MemoryFault.DoesNotCompare);
        world.Machine.Inject(MemoryFault.WrittenBeforeExecute, times: 1, process: one);

        world.Passes(3);

        string wrong = Assert.Single(world.Machine.Check());
        Assert.Contains("reads", wrong, StringComparison.Ordinal);
    }

    [Fact]
    public void AMachineThatReclaimsWhatSomebodyMapsIsCaught()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(100, page => page + 1);
        world.Passes(2);
        one.Fork();
        world.Machine.Inject(MemoryFault.ReclaimsMappedSlots);
        one.Exit();
        two.Exit();
        world.Start(1, _ => 5);

        world.Passes(20);
        world.Machine.Time.Advance(TimeSpan.FromSeconds(100));
        world.Passes(2);

        Assert.Contains(world.Machine.Check(), wrong => wrong.Contains("given back", StringComparison.Ordinal));
    }
}
