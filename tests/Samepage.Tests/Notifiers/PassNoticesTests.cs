using Xunit;

namespace Samepage.Tests;

/// <summary>
/// What notifiers are told of a target, machine and engine together, is exactly what is in its page tables: on the
/// machine in memory, with random programs.
/// </summary>
public sealed class PassNoticesTests
{
    [Fact]
    public void A_write_to_a_shared_page_is_told_as_broken_in_the_next_pass_and_only_that_page()
    {
        var world = new World();
        MemoryProcess first = world.Start(64, page => page + 1, at: World.Base);
        MemoryProcess second = world.Start(64, page => page + 1, at: World.Base + 1000);
        var told = new Recorder();
        first.Notifiers.Register(told);
        world.Merge();
        Assert.Equal([(MmuEvent.Shared, 0ul, 64ul)], told.Take());

        first.Write(World.Base + 5, 1111);
        first.Write(World.Base + 6, 2222);
        first.Write(World.Base + 40, 3333);
        second.Write(World.Base + 1001, 4444);
        Assert.Empty(told.Take()); // the kernel does it alone: nothing is known before the next pass
        world.Merge();
        Assert.Equal([(MmuEvent.Broken, 5ul, 2ul), (MmuEvent.Broken, 40ul, 1ul)], told.Take());

        first.Write(World.Base + 5, 6); // what the other still has
        world.Merge();
        Assert.Equal([(MmuEvent.Shared, 5ul, 1ul)], told.Take());
    }

    [Fact]
    public void Unmapped_pages_are_invalidated_and_un_merged_ones_told()
    {
        var world = new World();
        MemoryProcess first = world.Start(32, page => page + 1);
        world.Start(32, page => page + 1, at: World.Base + 1000);
        var map = new SharedPageMap();
        var told = new Recorder();
        first.Notifiers.Register(map);
        first.Notifiers.Register(told);
        world.Merge();
        Assert.Equal(32, map.Count);
        told.Take();
        first.Unmap(new PageRange(World.Base + 8, World.Base + 16));
        world.Merge();
        Assert.Equal([(null, 8ul, 8ul)], told.Take());
        Assert.Equal(24, map.Count);
        world.Engine.Unmerge(null, null, TestContext.Current.CancellationToken);
        Assert.Equal(0, map.Count);
        Assert.All(told.Take(), change => Assert.Equal(MmuEvent.Unshared, change.Kind));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Random_programs_leave_a_map_that_equals_the_page_tables(int seed)
    {
        var random = new Random(seed);
        var world = new World();
        MemoryProcess[] processes = [.. Enumerable.Range(0, 3).Select(_ => world.Start(200, _ => (ulong)random.Next(40)))];
        var maps = processes.ToDictionary(process => process, _ => new SharedPageMap());
        foreach ((MemoryProcess process, SharedPageMap map) in maps)
        {
            process.Notifiers.Register(map);
        }

        for (int round = 0; round < 60; round++)
        {
            for (int i = 0; i < 40; i++)
            {
                Act(random, processes[random.Next(processes.Length)]);
            }

            if (round % 7 == 6)
            {
                world.Engine.Unmerge(null, null, TestContext.Current.CancellationToken);
            }
            else
            {
                world.Passes(random.Next(1, 4));
                world.Merge();
            }

            // The engine's own account and what was told are one at any time...
            Assert.All(world.Engine.Targets, target => Assert.Equal(Runs(target.SharedRuns()), Runs(maps[(MemoryProcess)target.Target])));
        }

        world.CheckAtRest();
        // ... and at rest both are what the page tables say.
        Assert.All(maps, pair => Assert.Equal(Truth(pair.Key), Runs(pair.Value)));
        Assert.True(maps.Values.Sum(map => map.Count) > 100, $"seed {seed} shares too little to show anything");
    }

    [Fact]
    public void Without_the_notices_of_passes_the_map_goes_wrong()
    {
        var world = new World();
        MemoryProcess first = world.Start(16, page => page + 1);
        world.Start(16, page => page + 1, at: World.Base + 1000);
        var map = new SharedPageMap();
        first.Notifiers.Register(new OnlyShared(map));
        world.Merge();
        first.Write(World.Base + 3, 99);
        world.CheckAtRest();
        Assert.NotEqual(Truth(first), Runs(map));
    }

    private static void Act(Random random, MemoryProcess process)
    {
        ulong page = World.Base + (ulong)random.Next(200);
        bool mapped = process.Mapped.Any(range => range.Contains(page));
        switch (random.Next(12))
        {
            case 0 when mapped:
                process.Drop(page);
                break;
            case 1 when mapped:
                process.Unmap(new PageRange(page, page + 1));
                break;
            case < 6 when !mapped:
                process.Map(new PageRange(page, page + 1));
                break;
            default:
                if (mapped)
                {
                    process.Write(page, (ulong)random.Next(40));
                }

                break;
        }
    }

    private static (ulong Page, uint Slot)[] Truth(MemoryProcess process)
    {
        ulong cursor = 0;
        var runs = new SharedRun[1000];
        int count = process.ScanShared(ref cursor, ulong.MaxValue, runs);
        return Runs(runs.AsSpan(0, count).ToArray());
    }

    private static (ulong Page, uint Slot)[] Runs(IEnumerable<SharedRun> runs) =>
        [.. runs.SelectMany(run => Enumerable.Range(0, (int)run.Count).Select(i => (run.Start + (uint)i, run.Slot + (uint)i)))];

    private static (ulong Page, uint Slot)[] Runs(SharedPageMap map) => Runs(map.Runs().Select(run => new SharedRun(
        run.Address >> PageSize.Shift, (uint)(run.Length >> PageSize.Shift), (uint)(run.StoreOffset >> PageSize.Shift))));

    /// <summary>What was told, pages counted from World.Base; a null kind is an invalidation.</summary>
    private sealed class Recorder : IMmuNotifier
    {
        private readonly List<(MmuEvent? Kind, ulong Page, ulong Count)> _told = [];

        public (MmuEvent? Kind, ulong Page, ulong Count)[] Take()
        {
            (MmuEvent?, ulong, ulong)[] told = [.. _told];
            _told.Clear();
            return told;
        }

        public void ChangePte(in PteChange change) => Add(change.Kind, change.Address, change.End);

        public void InvalidatePage(ulong address) => Add(null, address, address + PageSize.Bytes);

        public void InvalidateRangeStart(ulong start, ulong end) => Add(null, start, end);

        private void Add(MmuEvent? kind, ulong start, ulong end) =>
            _told.Add((kind, (start >> PageSize.Shift) - World.Base, (end - start) >> PageSize.Shift));
    }

    private sealed class OnlyShared(SharedPageMap map) : IMmuNotifier
    {
        public void ChangePte(in PteChange change)
        {
            if (change.Kind == MmuEvent.Shared)
            {
                map.ChangePte(change);
            }
        }

        public void InvalidatePage(ulong address)
        {
        }
    }
}
