using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>KSM's operations on the simulated machine, one by one.</summary>
public class KsmPrimitivesTests
{
    private const ulong Base = 1 << 20;

    private readonly SimulatedMachine _machine = new();
    private readonly SimulatedProcess _process;
    private readonly uint _shared;

    public KsmPrimitivesTests()
    {
        _process = _machine.Start(new PageRange(Base, Base + 2));
        _process.Write(0, Base, PageContent.Of(5));
        SimulatedStore store = _machine.OpenStore("d");
        var page = new byte[PageSize.Bytes];
        PageContent.Of(5).CopyTo(page);
        store.Write(3, page);
        _shared = store.FrameOf(3);
    }

    [Fact]
    public void GetPteFindsOnlyAPresentPageAndHoldsItsFrame()
    {
        Assert.False(_machine.Ksm.TryGetPte(_process.Space, Base + 1, out _));
        Assert.True(_machine.Ksm.TryGetPte(_process.Space, Base, out HeldPage held));
        uint frame = held.Entry.Frame;
        _process.Drop(new PageRange(Base, Base + 1));
        Assert.Equal(FrameKind.Anonymous, _machine.Memory.Frames[frame].Kind);
        _machine.Ksm.Put(held);
        Assert.Equal(FrameKind.Free, _machine.Memory.Frames[frame].Kind);
    }

    [Fact]
    public void PageWrprotectMakesEveryMappingReadOnlyInEveryCpu()
    {
        SimulatedProcess child = _process.Fork();
        _process.Write(1, Base, PageContent.Of(5));
        child.Exit();
        Assert.True(_machine.Ksm.TryGetPte(_process.Space, Base, out HeldPage held));
        Assert.True(_process.WriteHalfWithoutWalk(1, Base, 0, 5));
        Assert.True(_machine.Ksm.PageWrprotect(held, out Pte entry));
        Assert.Equal(entry, _process.Space.PteOf(Base));
        Assert.False(entry.IsWritable);
        Assert.False(_process.WriteHalfWithoutWalk(1, Base, 0, 5));
        _machine.Ksm.Put(held);
        Assert.Empty(MachineChecker.Check(_machine));
    }

    [Fact]
    public void PageWrprotectFailsAndChangesNothingWhileDirectInputHoldsThePage()
    {
        Assert.True(_process.TryPin(Base, fast: false));
        Pte before = _process.Space.PteOf(Base);
        Assert.True(_machine.Ksm.TryGetPte(_process.Space, Base, out HeldPage held));
        Assert.False(_machine.Ksm.PageWrprotect(held, out _));
        Assert.Equal(before, _process.Space.PteOf(Base));
        _process.Unpin(0);
        Assert.True(_machine.Ksm.PageWrprotect(held, out _));
        _machine.Ksm.Put(held);
    }

    [Fact]
    public void ReplacePageEntersTheSharedPageReadOnlyAndFreesTheOldFrame()
    {
        Assert.True(_machine.Ksm.TryGetPte(_process.Space, Base, out HeldPage held));
        Assert.True(_machine.Ksm.PageWrprotect(held, out Pte entry));
        Assert.True(_machine.Ksm.ReplacePage(held, entry, _shared, Change));
        _machine.Ksm.Put(held);
        Pte now = _process.Space.PteOf(Base);
        Assert.Equal((_shared, false, true), (now.Frame, now.IsWritable, now.IsShared));
        Assert.Equal(FrameKind.Free, _machine.Memory.Frames[held.Entry.Frame].Kind);
        Assert.Equal(1, _machine.Memory.Frames[_shared].Mappings);
        Assert.Empty(MachineChecker.Check(_machine));
    }

    [Theory]
    [InlineData("write")]
    [InlineData("drop")]
    [InlineData("drop and write")]
    public void ReplacePageFailsWhenTheEntryIsNotTheExpectedOneAnyMore(string what)
    {
        Assert.True(_machine.Ksm.TryGetPte(_process.Space, Base, out HeldPage held));
        Assert.True(_machine.Ksm.PageWrprotect(held, out Pte entry));
        if (what.Contains("drop", StringComparison.Ordinal))
        {
            _process.Drop(new PageRange(Base, Base + 1));
        }

        if (what.Contains("write", StringComparison.Ordinal))
        {
            _process.Write(1, Base, PageContent.Of(6));
        }

        Assert.False(_machine.Ksm.ReplacePage(held, entry, _shared, Change));
        _machine.Ksm.Put(held);
        Assert.Empty(MachineChecker.Check(_machine));
    }

    [Fact]
    public void NotifiersHearOfTheProtectionThenOfTheSharedPageThenOfTheCopy()
    {
        var heard = new Listener();
        _process.Space.Notifiers.Register(heard);
        Assert.True(_machine.Ksm.TryGetPte(_process.Space, Base, out HeldPage held));
        Assert.True(_machine.Ksm.PageWrprotect(held, out Pte entry));
        Assert.True(_machine.Ksm.ReplacePage(held, entry, _shared, Change));
        _machine.Ksm.Put(held);
        _process.Write(0, Base, PageContent.Of(6));

        Assert.Equal([MmuEvent.WriteProtected, MmuEvent.Shared, MmuEvent.Broken], heard.Changes.Select(each => each.Kind));
        Assert.Equal(Change, heard.Changes[1]);
        Assert.Equal(_process.Space.PteOf(Base).Frame, heard.Changes[2].Frame);

        // Flushed without a notification: nobody is told to forget anything.
        Assert.Equal(0, heard.Invalidations);
    }

    [Fact]
    public void TodaysKernelsInvalidateARangeAroundEachOfThem()
    {
        var machine = new SimulatedMachine(new MachineOptions { Rule = NotificationRule.InvalidateRange });
        SimulatedProcess process = machine.Start(new PageRange(Base, Base + 1));
        var heard = new Listener();
        process.Space.Notifiers.Register(heard);
        process.Write(0, Base, PageContent.Of(5));
        Assert.True(machine.Ksm.TryGetPte(process.Space, Base, out HeldPage held));
        Assert.True(machine.Ksm.PageWrprotect(held, out Pte entry));
        Assert.True(machine.Ksm.ReplacePage(held, entry, PhysicalMemory.ZeroFrame, Change));
        machine.Ksm.Put(held);
        process.WriteHalf(0, Base, 0, 6);
        Assert.Empty(heard.Changes);
        Assert.Equal((3, 3), (heard.Starts, heard.Ends));
    }

    private PteChange Change => new(
        Base * PageSize.Bytes, PageSize.Bytes, MmuEvent.Shared, "d", 3 * PageSize.Bytes, _shared);

    private sealed class Listener : IMmuNotifier
    {
        public List<PteChange> Changes { get; } = [];

        public int Invalidations { get; private set; }

        public int Starts { get; private set; }

        public int Ends { get; private set; }

        public void ChangePte(in PteChange change) => Changes.Add(change);

        public void InvalidatePage(ulong address) => Invalidations++;

        public void InvalidateRangeStart(ulong start, ulong end) => Starts++;

        public void InvalidateRangeEnd(ulong start, ulong end) => Ends++;
    }
}
