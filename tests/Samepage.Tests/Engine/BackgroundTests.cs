using Xunit;

namespace Samepage.Tests;

public class BackgroundTests
{
    [Fact]
    public void APageIsMergedAtItsSecondVisitAndNotBefore()
    {
        var world = new World();
        world.Start(10, page => page + 1);
        world.Start(10, page => page + 1);

        world.Passes(1);
        Assert.Equal(0, world.Status.PagesShared);
        Assert.Equal(20, world.Status.PagesVolatile);

        world.Passes(1);
        Assert.Equal((10, 10), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void APageThatChangesBetweenAllVisitsIsVolatileAndNeverMerged()
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1);
        MemoryProcess two = world.Start(10, page => page + 1);
        for (ulong pass = 0; pass < 10; pass++)
        {
            one.Write(World.Base + 3, 1000 + pass);
            two.Write(World.Base + 3, 1000 + pass);
            world.Passes(1);
        }

        Assert.Equal(9, world.Status.PagesSharing);
        Assert.Equal(2, world.Status.PagesVolatile);
        world.Check();

        world.Passes(2);
        Assert.Equal(10, world.Status.PagesSharing);
        world.Check();
    }

    [Fact]
    public void MemoryNobodyWritesIsNotReadAgain()
    {
        var world = new World();
        MemoryProcess one = world.Start(1000, page => page + 1);
        MemoryProcess two = world.Start(1000, page => page + 1);
        MemoryProcess lone = world.Start(1000, page => page + 5000);
        world.Passes(3);
        long read = one.PagesRead + two.PagesRead + lone.PagesRead;
        long scanned = world.Status.PagesScanned;

        world.Passes(50);

        Assert.Equal(read, one.PagesRead + two.PagesRead + lone.PagesRead);
        Assert.Equal(scanned, world.Status.PagesScanned);
        Assert.Equal(53, world.Status.FullScans);
        world.Check();
    }

    [Fact]
    public void EachPageIsReadOnceAndOneOfEachPairOnceMore()
    {
        var world = new World();
        MemoryProcess one = world.Start(1000, page => page + 1);
        MemoryProcess two = world.Start(1000, page => page + 1);

        world.Passes(5);

        Assert.Equal(3000, one.PagesRead + two.PagesRead);
        Assert.Equal(4000, world.Status.PagesScanned);
    }

    [Fact]
    public void RunsStayRunsInTheBackgroundToo()
    {
        var world = new World();
        MemoryProcess one = world.Start(511, page => page + 1);
        MemoryProcess two = world.Start(511, page => page + 1);

        world.Passes(3);

        Assert.Equal((1, 1), (one.Plans[PlanKind.Share], two.Plans[PlanKind.Share]));
        world.Check();
    }

    [Fact]
    public void ZeroPagesGoInTheBackgroundToo()
    {
        var world = new World();
        MemoryProcess process = world.Start(600, page => page % 3 == 0 ? 0 : page);

        world.Passes(2);

        Assert.Equal(200, world.Status.ZeroPages);
        Assert.Equal(400, process.PrivatePages);

        process.Write(World.Base, 5);
        world.Passes(1);
        Assert.Equal(199, world.Status.ZeroPages);
        world.Check();
    }

    [Fact]
    public void AWriteToAMergedPageBreaksTheSharingAndIsCounted()
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1);
        world.Start(10, page => page + 1);
        world.Passes(2);

        one.Write(World.Base + 4, 777);
        world.Passes(1);

        Assert.Equal((10, 9), (world.Status.PagesShared, world.Status.PagesSharing));
        Assert.Equal(1, world.Status.PagesVolatile);
        world.Check();

        world.Passes(1);
        Assert.Equal((1, 0), (world.Status.PagesUnshared, world.Status.PagesVolatile));
        world.Check();
    }

    [Fact]
    public void ABrokenPageIsResharedAndABrokenZeroPageIsNotTakenAway()
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1);
        MemoryProcess two = world.Start(10, page => page + 1);
        world.Passes(2);

        one.Write(World.Base + 4, 777);
        two.Write(World.Base + 5, 777);
        one.Write(World.Base + 6, 0);
        two.Write(World.Base + 6, 0);
        world.Passes(3);

        Assert.Equal((1, 1), (one.Plans[PlanKind.Share], two.Plans[PlanKind.Share]));
        Assert.Equal(2, one.Plans[PlanKind.Reshare]);
        Assert.Equal((0, 0), (one.Plans.GetValueOrDefault(PlanKind.Zero), one.WrongKinds + two.WrongKinds));
        // The two slots nobody maps any more, 5 and 6 with one mapping each, and the new ones.
        Assert.Equal((11, 9), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void SwappingContentsBetweenProcessesFollowsTheStablePages()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(100, page => page + 1);
        world.Passes(2);
        int written = world.Machine.OpenStore("d").Writes;

        one.Fill(new PageRange(World.Base, World.Base + 100), page => page - World.Base + 1);
        world.Passes(3);

        Assert.Equal(100, world.Status.PagesSharing);
        Assert.Equal(written, world.Machine.OpenStore("d").Writes);
        Assert.Equal(0, one.WrongKinds + two.WrongKinds);
        world.Check();
    }

    [Fact]
    public void PagesOfUnmappedRegionsAreForgotten()
    {
        var world = new World();
        MemoryProcess one = world.Start(1000, page => page + 1);
        world.Start(1000, page => page + 1);
        MemoryProcess zero = world.Start(1000, _ => 0);
        world.Passes(2);

        one.Unmap(new PageRange(World.Base + 100, World.Base + 1000));
        zero.Unmap(new PageRange(World.Base, World.Base + 999));
        world.Passes(1);

        Assert.Equal((1000, 100), (world.Status.PagesShared, world.Status.PagesSharing));
        Assert.Equal(1, world.Status.ZeroPages);
        Assert.Equal(100 + 1000 + 1, world.Status.RegisteredPages);
        world.Check();
    }

    [Fact]
    public void NewRegionsArePickedUp()
    {
        var world = new World();
        world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(1, _ => 0);
        world.Passes(2);

        var range = new PageRange(World.Base + 5000, World.Base + 5100);
        two.Map(range);
        two.Fill(range, page => page - range.Start + 1);
        world.Passes(3);

        Assert.Equal(100, world.Status.PagesSharing);
        world.Check();
    }

    [Fact]
    public void MergedPagesThatVanishWithoutAWriteAreNoticed()
    {
        var world = new World();
        MemoryProcess one = world.Start(2000, page => page + 1);
        world.Start(2000, page => page + 1);
        world.Passes(2);
        Assert.Equal(2000, world.Status.PagesSharing);

        foreach (ulong page in MemoryProcess.PagesOf(new PageRange(World.Base + 100, World.Base + 1500)))
        {
            one.Drop(page);
        }

        world.CheckAtRest();
        Assert.Equal((2000, 600), (world.Status.PagesShared, world.Status.PagesSharing));
    }

    [Fact]
    public void MergedPagesThatMoveAreFollowed()
    {
        var world = new World();
        MemoryProcess one = world.Start(600, page => page + 1);
        world.Start(600, page => page + 1);
        world.Passes(2);

        one.Move(new PageRange(World.Base, World.Base + 600), World.Base + 100_000);
        world.Passes(1);

        Assert.Equal(600, world.Status.PagesSharing);
        world.Check();
    }

    [Fact]
    public void ATargetThatExitsIsForgottenAndTheOthersGoOn()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Start(100, page => page + 1);
        world.Passes(2);

        one.Exit();
        world.Passes(1);

        Assert.Equal((100, 100), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();
        world.Engine.Unregister(world.Engine.Targets[0]);
        world.Passes(2);
        world.CheckAtRest();
    }

    [Fact]
    public void UnregisteringInTheMiddleOfAPassDoesNotSkipTheOthers()
    {
        var world = new World();
        world.Set("pages_to_scan", "10");
        for (int i = 0; i < 4; i++)
        {
            world.Start(25, page => page + 1);
        }

        for (int i = 0; i < 4; i++)
        {
            world.Engine.Step();
        }

        world.Engine.Unregister(world.Engine.Targets[1]);
        world.Engine.Unregister(world.Engine.Targets[0]);
        world.Passes(4);

        Assert.Equal((25, 25), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check(counters: false);
    }

    [Fact]
    public void AHugeSparseRegionCostsNothing()
    {
        var world = new World();
        var range = new PageRange(1UL << 32, (1UL << 32) + (1UL << 32));
        MemoryProcess process = world.Machine.Start(range);
        process.Write(range.Start + 5, 1);
        process.Write(range.Start + (1UL << 31), 1);
        process.Write(range.End - 1, 1);
        world.Engine.Register(process, "d");
        long before = world.Status.MetadataBytes;

        world.Passes(2);

        Assert.Equal(2, world.Status.PagesSharing);
        Assert.Equal(1L << 32, world.Status.RegisteredPages);
        Assert.InRange(world.Status.MetadataBytes - before, 0, 1 << 20);
        Assert.InRange(process.Scans, 1, 100);
        world.Check();
    }
}
