using Xunit;

namespace Samepage.Tests;

public class StoreTests
{
    [Fact]
    public void StorePagesNobodyMapsAreGivenBack()
    {
        var world = new World();
        MemoryProcess one = world.Start(600, page => page + 1);
        MemoryProcess two = world.Start(600, page => page + 1);
        world.Passes(2);
        var half = new PageRange(World.Base, World.Base + 300);
        one.Fill(half, page => page + 10_000);
        two.Fill(half, page => page + 20_000);

        world.CheckAtRest();

        Assert.Equal(300, world.Status.StorePages);
        Assert.Equal(300, world.Machine.OpenStore("d").PagesUsed);
    }

    [Fact]
    public void StorePagesThatAForkedChildMapsAreKept()
    {
        var world = new World();
        MemoryProcess one = world.Start(600, page => page + 1);
        MemoryProcess two = world.Start(600, page => page + 1);
        world.Passes(2);
        MemoryProcess child = one.Fork();
        var all = new PageRange(World.Base, World.Base + 600);
        one.Fill(all, page => page + 10_000);
        two.Fill(all, page => page + 20_000);

        world.CheckAtRest();
        Assert.Equal((0, 600), (world.Status.PagesShared, world.Status.StorePages));

        child.Exit();
        for (int i = 0; i < 100; i++)
        {
            world.CheckAtRest();
        }

        Assert.Equal(0, world.Status.StorePages);
    }

    [Fact]
    public void AStorePageWithoutMappingsIsFoundAgainBeforeItIsGivenBack()
    {
        var world = new World();
        MemoryProcess one = world.Start(100, page => page + 1);
        MemoryProcess two = world.Start(100, page => page + 1);
        world.Merge();
        int writes = world.Machine.OpenStore("d").Writes;
        var all = new PageRange(World.Base, World.Base + 100);
        one.Fill(all, page => page + 10_000);
        two.Fill(all, page => page + 20_000);
        world.Merge();
        Assert.Equal((0, 100), (world.Status.PagesShared, world.Status.StorePages));

        one.Fill(all, page => page - World.Base + 1);
        world.Merge();

        Assert.Equal((100, 0), (world.Status.PagesShared, world.Status.PagesSharing));
        Assert.Equal(writes, world.Machine.OpenStore("d").Writes);
        world.Check();
    }

    [Fact]
    public void FreedSlotsAreUsedAgainAsLongRuns()
    {
        var world = new World();
        MemoryProcess one = world.Start(2000, page => page + 1);
        MemoryProcess two = world.Start(2000, page => page + 1);
        for (ulong round = 1; round <= 20; round++)
        {
            world.Merge();
            world.Engine.Unmerge(null, null, TestContext.Current.CancellationToken);
            ulong shift = round * 100_000;
            one.Fill(new PageRange(World.Base, World.Base + 2000), page => page + shift);
            two.Fill(new PageRange(World.Base, World.Base + 2000), page => page + shift);
        }

        one.Plans.Clear();
        world.Merge();

        Assert.InRange(world.Machine.OpenStore("d").SlotsUsed.Max(), 2000u, 4096u);
        Assert.InRange(one.Plans[PlanKind.Reshare], 4, 8); // a cut where plans were started
        world.Check();
    }

    [Fact]
    public void ANewEngineAdoptsWhatTheOldOneMerged()
    {
        var machine = new MemoryMachine();
        var old = new World(machine);
        MemoryProcess one = old.Start(1500, page => page + 1);
        MemoryProcess two = old.Start(1500, page => page + 1);
        old.Merge();
        machine.ReopenStore("d");

        var world = new World(machine, seed: 4711);
        world.Engine.Register(one, "d");
        world.Engine.Register(two, "d");

        Assert.Equal((1500, 1500), (world.Status.PagesShared, world.Status.PagesSharing));
        world.Check();

        // Adopted pages are in the stable tree again, under the new seed.
        MemoryProcess three = world.Start(1500, page => page + 1);
        world.Merge();
        Assert.Equal(3000, world.Status.PagesSharing);
        Assert.InRange(three.Plans[PlanKind.Share], 3, 5);
        Assert.Equal(0, machine.OpenStore("d").Writes);
        world.Check();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void PagesThatWereBrokenBeforeTheRestartAreMergedAgain(bool atOnce)
    {
        var machine = new MemoryMachine();
        var old = new World(machine);
        MemoryProcess one = old.Start(500, page => page + 1);
        MemoryProcess two = old.Start(500, page => page + 1);
        old.Merge();
        var part = new PageRange(World.Base + 100, World.Base + 200);
        one.Fill(part, page => page);
        two.Fill(part, page => page);
        machine.ReopenStore("d");

        // Nothing tells the new engine that these pages lie in mappings of the store.
        var world = new World(machine, seed: 4711);
        world.Engine.Register(one, "d");
        world.Engine.Register(two, "d");
        if (atOnce)
        {
            world.Merge();
        }
        else
        {
            world.Passes(20);
        }

        Assert.Equal((500, 500), (one.StorePages, two.StorePages));
        world.Check();
    }

    [Fact]
    public void SlotsOfAProcessThatIsAdoptedLaterAreNotGivenOutBefore()
    {
        var machine = new MemoryMachine();
        var old = new World(machine);
        MemoryProcess one = old.Start(700, page => page + 1);
        MemoryProcess two = old.Start(700, page => page + 1);
        old.Merge();
        machine.ReopenStore("d");

        var world = new World(machine, seed: 4711);
        world.Start(700, page => page + 5000);
        world.Start(700, page => page + 5000);
        world.Merge();
        world.CheckAtRest();
        world.Engine.Register(one, "d");
        world.Engine.Register(two, "d");

        Assert.Equal(1400, world.Status.PagesSharing);
        world.CheckAtRest();
    }

    [Fact]
    public void SlotsOfAnEarlierDaemonThatNobodyMapsAreGivenBack()
    {
        var machine = new MemoryMachine();
        var old = new World(machine);
        MemoryProcess one = old.Start(700, page => page + 1);
        MemoryProcess two = old.Start(700, page => page + 1);
        old.Merge();
        machine.ReopenStore("d");
        one.Exit();
        two.Exit();

        var world = new World(machine, seed: 4711);
        world.Start(1, _ => 1);
        Assert.Equal(700, world.Status.StorePages);
        world.CheckAtRest();

        Assert.Equal(0, world.Status.StorePages);
        Assert.Equal(0, machine.OpenStore("d").PagesUsed);
    }
}
