using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>The memory of the simulated machine behaves as a kernel's.</summary>
public class MachineTests
{
    private const ulong Base = 1 << 20;

    private readonly SimulatedMachine _machine = new();

    [Fact]
    public void ReadingUntouchedMemoryShowsTheZeroPageAndTakesNoFrame()
    {
        SimulatedProcess process = Start(8);
        long frames = _machine.Memory.Frames.Used;
        for (ulong page = Base; page < Base + 8; page++)
        {
            Assert.True(process.Read(0, page));
        }

        Assert.Equal(frames, _machine.Memory.Frames.Used);
        Assert.All(Pages(process), page => Assert.True(page.IsShared && !page.IsWritable && page.Store is null));
        Check();
    }

    [Fact]
    public void AWriteToTheZeroPageTakesAFrameOfItsOwn()
    {
        SimulatedProcess process = Start(2);
        process.Read(0, Base);
        process.WriteHalf(1, Base, 1, 7);
        Assert.Equal(new PageContent(0, 7), process.WrittenAt(Base));
        Assert.True(process.Read(0, Base));
        Assert.Equal(1, _machine.Memory.Breaks);
        Check();
    }

    [Fact]
    public void AccessOutsideTheAreasOrAgainstTheirRightsIsRefused()
    {
        SimulatedProcess process = Start(4);
        Assert.False(process.Write(0, Base + 4, PageContent.Of(1)));
        Assert.False(process.Read(0, Base - 1));
        process.Write(0, Base, PageContent.Of(1));
        process.Protect(new PageRange(Base, Base + 1), writable: false);
        Assert.False(process.Write(0, Base, PageContent.Of(2)));
        Assert.True(process.Read(0, Base));
        Assert.Equal(2, process.VmaCount);
        process.Protect(new PageRange(Base, Base + 1), writable: true);
        Assert.True(process.Write(0, Base, PageContent.Of(2)));
        Assert.Equal(1, process.VmaCount);
        Check();
    }

    [Fact]
    public void AfterForkWhoeverWritesFirstGetsACopyAndTheLastOneKeepsThePage()
    {
        SimulatedProcess parent = Start(1);
        parent.Write(0, Base, PageContent.Of(5));
        SimulatedProcess child = parent.Fork();
        Assert.Equal(FrameOf(parent, Base), FrameOf(child, Base));

        child.WriteHalf(1, Base, 0, 6);
        Assert.NotEqual(FrameOf(parent, Base), FrameOf(child, Base));
        Assert.Equal(1, _machine.Memory.Breaks);
        uint own = FrameOf(parent, Base);
        parent.WriteHalf(0, Base, 0, 7);
        Assert.Equal(own, FrameOf(parent, Base));
        Assert.Equal(1, _machine.Memory.Breaks);
        Check();
    }

    [Fact]
    public void APageThatDirectInputHoldsStaysTheParentsAfterFork()
    {
        SimulatedProcess parent = Start(1);
        parent.Write(0, Base, PageContent.Of(5));
        Assert.True(parent.TryPin(Base, fast: false));
        SimulatedProcess child = parent.Fork();
        parent.WritePinned(0, 1, 9);
        Assert.True(parent.Read(0, Base));
        Assert.True(child.Read(1, Base));
        Assert.Equal(new PageContent(5, 9), parent.WrittenAt(Base));
        parent.Unpin(0);
        Check();
    }

    [Fact]
    public void SwappedPagesComeBackAsTheyWereAndPinnedOrSharedOnesStay()
    {
        SimulatedProcess process = Start(3);
        process.Fill(Area(3), page => page);
        process.TryPin(Base + 1, fast: true);
        Assert.True(process.SwapOut(Base));
        Assert.False(process.SwapOut(Base + 1));
        SimulatedProcess child = process.Fork();
        Assert.False(process.SwapOut(Base + 2));
        Assert.True(process.Space.PteOf(Base).IsSwapped);
        Assert.True(child.Read(0, Base));
        Assert.True(process.Read(0, Base));
        Check();
        process.Exit();
        child.Exit();
        Assert.Equal(0, _machine.Memory.Swap.Used);
        Assert.Equal(1, _machine.Memory.Frames.Used);
    }

    [Fact]
    public void AnExitGivesEveryFrameBackAndReleasesTheNotifiers()
    {
        SimulatedProcess process = Start(700);
        process.Fill(Area(700), page => page % 3);
        var guest = new HypervisorGuest(_machine, process, Area(700), new ChangePteMmu(_machine, process, Area(700)));
        guest.Read(Base);
        process.Exit();
        Assert.Equal(1, _machine.Memory.Frames.Used);
        Assert.True(process.Space.Notifiers.IsReleased);
        Assert.False(guest.Read(Base));
        Check();
    }

    [Fact]
    public void ACpuRemembersATranslationUntilItIsFlushed()
    {
        SimulatedProcess process = Start(1);
        process.Write(0, Base, PageContent.Of(1));

        // Behind the CPU's back, as nobody must do it.
        process.Space.Table.Touch(Base) &= ~Pte.WritableBit;
        Assert.True(process.WriteHalfWithoutWalk(0, Base, 0, 2));
        Assert.Contains(MachineChecker.Check(_machine), wrong => wrong.Check == "tlb");
        _machine.Memory.Flush(process.Space, Base);
        Assert.False(process.WriteHalfWithoutWalk(0, Base, 0, 3));
        Check();
    }

    [Fact]
    public void MovedPagesKeepTheirBytesAndAreListedAnew()
    {
        SimulatedProcess process = Start(4);
        process.Fill(Area(4), page => page);
        process.RefreshRegions(true);
        Assert.Equal([Area(4)], List(process));
        Assert.Empty(List(process));
        process.Move(new PageRange(Base + 1, Base + 3), Base + 600);
        Assert.Equal([new PageRange(Base + 600, Base + 602)], List(process));
        Assert.True(process.Read(0, Base + 600));
        Assert.False(process.Read(0, Base + 1));
        Check();
    }

    [Fact]
    public void AWriteIsListedOnceAlsoWhenItCameThroughARememberedTranslation()
    {
        SimulatedProcess process = Start(40);
        process.Fill(Area(40), page => page);
        Assert.Equal([Area(40)], List(process));
        process.WriteHalf(0, Base + 39, 0, 1);
        Assert.Equal([new PageRange(Base + 39, Base + 40)], List(process));
        Assert.Empty(List(process));
        Check();
    }

    [Fact]
    public void ATableOfPagesMakesLeavesOnlyWhereItIsTouched()
    {
        var table = new RadixTable<ulong>();
        Assert.Equal(0ul, table.Get(5));
        Assert.Equal(0, table.Leaves);
        ulong[] pages = [0, 511, 512, (1ul << 18) - 1, 1ul << 27, (1ul << 36) - 1];
        foreach (ulong page in pages)
        {
            table.Touch(page) = page + 1;
        }

        Assert.All(pages, page => Assert.Equal(page + 1, table.Get(page)));
        Assert.Equal(5, table.Leaves);
        var firsts = new List<ulong>();
        table.ForEachLeaf((first, _) => firsts.Add(first));
        Assert.Equal([0, 512, (1ul << 18) - 512, 1ul << 27, (1ul << 36) - 512], firsts);
        table.Clear(new PageRange(1, 1ul << 35));
        Assert.Equal([1ul, 0, 0, 0, 0, 1ul << 36], pages.Select(table.Get));
        Assert.Throws<ArgumentOutOfRangeException>(() => table.Touch(1ul << 36));
    }

    private static PageRange Area(int pages) => new(Base, Base + (ulong)pages);

    private static List<ObservedPage> Pages(SimulatedProcess process) => [.. process.Observe()];

    private static uint FrameOf(SimulatedProcess process, ulong page) => process.Space.PteOf(page).Frame;

    private static List<PageRange> List(SimulatedProcess process)
    {
        var runs = new PageRange[16];
        ulong cursor = Base;
        int count = process.Scan(ref cursor, Base + 1024, runs);
        Assert.Equal(Base + 1024, cursor);
        return [.. runs.Take(count)];
    }

    private SimulatedProcess Start(int pages) => _machine.Start(Area(pages));

    private void Check() => Assert.Empty(MachineChecker.Check(_machine));
}
