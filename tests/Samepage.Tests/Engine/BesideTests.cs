using Xunit;

namespace Samepage.Tests;

/// <summary>Plans that are carried out while the engine scans on.</summary>
public class BesideTests
{
    [Fact]
    public void APageThatIsWrittenAfterItWasMergedBesideTheEngineIsAPageThatWasWritten()
    {
        const ulong first = World.Base, second = World.Base + 10_000;
        var world = new World();
        MemoryProcess process = world.Machine.Start(new PageRange(first, first + 10), new PageRange(second, second + 10));
        process.Fill(new PageRange(first, first + 10), page => page);
        process.Fill(new PageRange(second, second + 10), page => page);
        world.Engine.Register(process, "d");
        world.Merge();

        // Now equal to a page that is known, and lies where the scan has not been when both are merged.
        process.Write(first + 5, second + 5);
        world.Engine.PagesStartedAtOnce = 2;
        world.Machine.Beside = new AlwaysNow();
        int written = 0;
        world.Machine.Meanwhile = () =>
        {
            if (process.CarriedOutBeside == 1 && written++ == 0)
            {
                process.Write(second + 5, 12345);
            }
        };
        world.Merge();

        Assert.Equal((1, true), (process.CarriedOutBeside, written > 0));
        world.Machine.Meanwhile = null;
        world.Check();
        world.CheckAtRest();
    }

    [Fact]
    public void ATargetThatCannotBeStoppedCostsARoundOneTryAndNotOneForEachPart()
    {
        var world = new World();
        world.Engine.PagesStartedAtOnce = 10;
        MemoryProcess stuck = world.Start(500, page => page);
        world.Start(500, page => page, at: World.Base + 100_000);
        world.Machine.Inject(MemoryFault.TargetBusy, process: stuck);

        world.Merge();

        Assert.InRange(stuck.Executions, 1, 8);
        world.Machine.ClearFaults();
        world.Merge();
        Assert.Equal(0, stuck.PrivatePages);
        world.Check();
    }

    private sealed class AlwaysNow : Random
    {
        public override int Next(int maxValue) => 0;
    }
}
