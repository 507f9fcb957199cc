using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>What notifiers hear while the production engine works on the simulated machine.</summary>
public class EngineNotificationTests
{
    private const ulong Base = 1 << 20;

    private readonly SimulatedMachine _machine = new();
    private readonly Listener _heard = new();
    private readonly SimulatedProcess _process;
    private readonly Engine _engine;

    public EngineNotificationTests()
    {
        var area = new PageRange(Base, Base + 8);
        _engine = new Engine(_machine, new Knobs(), 1);
        SimulatedProcess[] processes = [_machine.Start(area), _machine.Start(area)];
        foreach (SimulatedProcess process in processes)
        {
            // The last two pages are all zero.
            process.Fill(area, page => page < Base + 6 ? page : 0);
            _engine.Register(process, "guests");
        }

        _process = processes[0];
        _process.Space.Notifiers.Register(_heard);
        _engine.Merge(null, null, TestContext.Current.CancellationToken);
    }

    [Fact]
    public void AMergeSaysOfEachPageWhichStorePageStandsThereNow()
    {
        List<ObservedPage> shared = [.. _process.Observe().Where(page => page.Store is not null)];
        Assert.Equal(6, shared.Count);
        Assert.Equal(
            shared.Select(page => (page.Page * PageSize.Bytes, page.Store, (ulong)page.Slot * PageSize.Bytes)),
            _heard.Of(MmuEvent.Shared).Select(each => (each.Address, each.Store, each.StoreOffset)));
        Assert.Equal(
            [(Base + 6) * PageSize.Bytes, (Base + 7) * PageSize.Bytes],
            _heard.Of(MmuEvent.Zeroed).Select(each => each.Address));
        Assert.All(_heard.Of(MmuEvent.Shared), each => Assert.False(each.IsWritable));
    }

    [Fact]
    public void EveryPageIsProtectedBeforeItIsReplaced()
    {
        foreach (PteChange replaced in _heard.Of(MmuEvent.Shared).Concat(_heard.Of(MmuEvent.Zeroed)))
        {
            Assert.Equal(
                [MmuEvent.WriteProtected, replaced.Kind],
                _heard.Changes.Where(each => each.Address == replaced.Address).TakeLast(2).Select(each => each.Kind));
        }
    }

    [Fact]
    public void AWriteAndAnUnmergeSayThatAPrivatePageStandsThereNow()
    {
        _heard.Changes.Clear();
        _process.WriteHalf(0, Base + 2, 0, 1);
        _engine.Unmerge(null, null, TestContext.Current.CancellationToken);
        Assert.Equal((Base + 2) * PageSize.Bytes, Assert.Single(_heard.Of(MmuEvent.Broken)).Address);
        Assert.Equal(5, _heard.Of(MmuEvent.Unshared).Count);
        Assert.All(_heard.Changes, each => Assert.True(each.IsWritable && each.Store is null));
        Assert.Empty(MachineChecker.Check(_machine));
    }

    private sealed class Listener : IMmuNotifier
    {
        public List<PteChange> Changes { get; } = [];

        public List<PteChange> Of(MmuEvent kind) => [.. Changes.Where(each => each.Kind == kind)];

        public void ChangePte(in PteChange change) => Changes.Add(change);

        public void InvalidatePage(ulong address)
        {
        }
    }
}
