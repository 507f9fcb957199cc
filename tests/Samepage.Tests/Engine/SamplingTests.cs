using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>Sampling saves reads, and nothing that is equal is missed for it.</summary>
public class SamplingTests(ITestOutputHelper output)
{
    private static readonly SamplingOptions Always = new() { PagesMin = 1 };
    private static readonly SamplingOptions Never = new() { PagesMin = 0 };

    [Fact]
    public void UniqueMemoryIsNotReadAndCountsAsUnshared()
    {
        var world = new World();
        MemoryProcess process = world.Start(5_000, page => page + 1);

        world.Merge();

        // A few samples are taken for that of the page of zeros, the only one known.
        Assert.InRange(process.PagesRead, 0, 10);
        Assert.Equal(5_000, process.PagesSampled);
        Assert.Equal(5_000, world.Status.PagesUnshared);
        Assert.Equal(5_000, world.Status.PagesScanned);
        Assert.Equal(0, world.Status.PagesVolatile);
        world.Check();
    }

    [Fact]
    public void AHandfulOfPagesIsReadWithoutStoppingAnybody()
    {
        var world = new World();
        MemoryProcess process = world.Start(500, page => page + 1);

        world.Merge();

        Assert.Equal((500, 0), (process.PagesRead, process.PagesSampled));
    }

    [Fact]
    public void EqualPagesAreMergedAndTheOthersAreNotRead()
    {
        var world = new World();
        MemoryProcess one = world.Start(4_000, page => page + 1);
        MemoryProcess two = world.Start(4_000, page => page < 100 ? page + 1 : page + 100_000);

        world.Merge();

        Assert.Equal((100, 100), (one.StorePages, two.StorePages));
        // Of two pages with one sample one is read; the other is presumed to be equal.
        Assert.InRange(one.PagesRead, 100, 200);
        Assert.Equal(0, two.PagesRead);
        Assert.Equal(7_800, world.Status.PagesUnshared);
        world.Check();
    }

    [Fact]
    public void PagesOfOneSampleThatDifferElsewhereAreAllReadAndNotMerged()
    {
        var world = new World(seed: SeedWithBothLinesIn(0), sampling: Always with { Presumes = false });
        MemoryProcess process = Differing(world, half: 1, pages: 1_000);

        world.Merge();

        Assert.Equal((0, 1_000), (process.StorePages, world.Status.PagesUnshared));
        Assert.Equal(1_000, process.PagesRead);
        world.Check();
    }

    [Fact]
    public void PagesThatAreWronglyPresumedToBeEqualAreReadAndFindTheirOwn()
    {
        // Pages of the same number have one sample everywhere, but those of the second process hold something else.
        var world = new World(seed: SeedWithBothLinesIn(0), sampling: Always);
        MemoryProcess[] processes = [.. Enumerable.Range(0, 3).Select(_ => world.Start(4_000, page => page + 1))];
        foreach (int i in (ReadOnlySpan<int>)[1, 2])
        {
            for (ulong page = 0; page < 4_000; page++)
            {
                processes[i].Write(World.Base + page, PageContent.Of(page + 1).With(1, page + (i == 1 ? 10_000ul : 20_000)));
            }
        }

        world.Start(4_000, page => page + 1);
        MemoryProcess last = world.Start(4_000, _ => 1);
        for (ulong page = 0; page < 4_000; page++)
        {
            last.Write(World.Base + page, PageContent.Of(page + 1).With(1, page + 20_000));
        }

        world.Merge();

        // No pair is missed, and of the others only those are in the store that were first guesses.
        Assert.Equal((4_000, 4_000, 4_000), (processes[0].StorePages, processes[2].StorePages, last.StorePages));
        Assert.InRange(processes[1].StorePages, 0, 2_400);
        world.Check();
    }

    [Fact]
    public void PresumingEndsWhereSamplesMislead()
    {
        var world = new World(seed: SeedWithBothLinesIn(0), sampling: Always);
        MemoryProcess one = world.Start(20_000, page => page + 1);
        MemoryProcess two = world.Start(20_000, page => page + 1);
        for (ulong page = 0; page < 20_000; page++)
        {
            two.Write(World.Base + page, PageContent.Of(page + 1).With(1, page + 100_000));
        }

        world.Merge();

        Assert.InRange(one.StorePages, 1, 3_000);
        Assert.Equal((0, 20_000), (two.StorePages, two.PagesRead));
        world.Check();
    }

    [Fact]
    public void AnEqualPageOfAnotherDomainIsKnownToBeThere()
    {
        var world = new World(sampling: Always);
        world.Start(1_000, page => page + 1, "a");
        world.Start(1_000, page => page + 1, "b");

        world.Merge();

        Assert.Equal(2_000, world.Status.NotMerged[NotMergedReason.OtherDomain]);
        Assert.Equal(0, world.Status.PagesSharing);
        world.Check();
    }

    [Fact]
    public void ZeroPagesAreTakenAwayTheFirstToo()
    {
        var world = new World(sampling: Always);
        MemoryProcess process = world.Start(1_000, page => page < 3 ? 0 : page);

        world.Merge();

        Assert.Equal(3, world.Status.ZeroPages);
        Assert.Equal(997, process.PrivatePages);
        world.Check();
    }

    [Fact]
    public void APageThatIsWrittenWhileItIsSampledIsFoundUnderItsNewContent()
    {
        var world = new World(sampling: Always);
        MemoryProcess one = world.Start(1_000, page => page + 1);
        world.Merge();
        one.Write(World.Base + 5, 777_777);
        MemoryProcess two = world.Start(1_000, page => page + 500_000);
        two.Write(World.Base + 9, 777_777);
        two.Write(World.Base + 10, 6); // what page 5 of the other was

        world.Merge();

        Assert.Equal((1, 1), (one.StorePages, two.StorePages));
        world.Check();
    }

    [Fact]
    public void APageTheBackgroundReadsFindsTheSampledOneWithItsContent()
    {
        var world = new World();
        MemoryProcess one = world.Start(1_000, page => page + 1);
        world.Merge();
        Assert.Equal(1_000, one.PagesSampled);
        MemoryProcess two = world.Start(100, page => page + 1);

        world.Passes(3);

        Assert.Equal((100, 100), (one.StorePages, two.StorePages));
        Assert.Equal(0, two.PagesSampled);
        world.Check();
    }

    [Fact]
    public void ASampledPageIsNoLongerFoundOnceItsTargetIsGone()
    {
        var world = new World(sampling: Always);
        MemoryProcess one = world.Start(1_000, page => page + 1);
        world.Merge();
        one.Exit();
        MemoryProcess two = world.Start(1_000, page => page + 1);

        world.Merge();

        Assert.Equal((0, 1_000), (two.StorePages, world.Status.PagesUnshared));
        world.Engine.Unregister(world.Engine.Targets[0]);
        world.Merge();
        Assert.Equal(1_000, world.Status.PagesUnshared);
        world.Check();
    }

    [Fact]
    public void ContentsThatAreForgottenAreForgottenForSamplesToo()
    {
        var world = new World(sampling: Always);
        MemoryProcess one = world.Start(2_000, page => page + 1);
        world.Start(1_000, page => page + 1);
        world.Merge();
        Assert.Equal(1_000, one.StorePages);

        world.Engine.UnmergeAll(null, TestContext.Current.CancellationToken);
        Assert.Equal((0, 0), (world.Status.PagesUnshared, world.Status.PagesSharing));
        world.Merge();

        Assert.Equal((1_000, 1_000), (one.StorePages, world.Status.PagesSharing));
        world.Check();
    }

    [Fact]
    public void WhatIsLeftInAStoreWithoutTargetsDoesNotTurnSamplingOff()
    {
        // More store pages than the set of contested samples has room for without any registered page.
        const int many = 60_000;
        var world = new World();
        world.Start(many, page => page + 1);
        world.Start(many, page => page + 1, at: World.Base + (2 * many));
        world.Merge();
        foreach (RegisteredTarget target in world.Engine.Targets.ToArray())
        {
            world.Engine.Unregister(target);
        }

        MemoryProcess next = world.Start(5_000, page => page + (10 * many), at: World.Base + (4 * many));
        world.Merge();

        Assert.InRange(next.PagesRead, 0, 500);
        world.Check();
    }

    [Fact]
    public void StorePagesOfAnEarlierDaemonAreFound()
    {
        var machine = new MemoryMachine();
        var before = new World(machine);
        MemoryProcess one = before.Start(600, page => page + 1);
        before.Start(600, page => page + 1);
        before.Merge();
        machine.ReopenStore("d");
        var world = new World(machine, 43, Always);
        MemoryProcess lone = world.Start(600, page => page + 1);
        world.Merge();
        Assert.Equal(0, lone.StorePages);
        one.ForgetTracking();
        world.Engine.Register(one, "d");

        world.Merge();

        Assert.Equal(600, lone.StorePages);
    }

    [Fact]
    public void WhenTooManySamplesAreContestedPagesAreReadAsWithoutSampling()
    {
        var world = new World(sampling: Always);
        MemoryProcess sampled = world.Start(10_000, page => page + 1);
        world.Merge();
        MemoryProcess one = world.Start(100_000, page => page + 5_000);
        world.Passes(3);
        Assert.Equal(105_001, one.PagesRead); // pages of two: the second time for the store
        MemoryProcess two = world.Start(100_000, page => page + 5_000);

        world.Merge();

        Assert.Equal((5_001, 100_000, 100_000), (sampled.StorePages, one.StorePages, two.StorePages));
        Assert.Equal((100_000, 0), (two.PagesRead, two.PagesSampled));
        world.Check();

        // With the contents all that is forgotten.
        world.Engine.UnmergeAll(null, TestContext.Current.CancellationToken);
        sampled.Fill(new PageRange(World.Base, World.Base + 10_000), page => page * 3);
        world.Merge();
        // Not those that lie in mappings of the store now.
        Assert.Equal(14_999, sampled.PagesSampled);
        world.Check();
    }

    [Fact]
    public void RandomHistoriesEndWithTheSameMergesAsWithoutSampling()
    {
        long merged = 0, sampled = 0;
        for (int seed = 1; seed <= 150; seed++)
        {
            var with = new SamplingHistory(seed, Always);
            var without = new SamplingHistory(seed, Never);
            for (int step = 0; step < 40; step++)
            {
                with.Act();
                without.Act();
            }

            IReadOnlyList<string> expected = without.Settle();
            Assert.Equal(expected, with.Settle());
            merged += expected.Count;
            sampled += with.Sampled;
            Assert.Equal(0, without.Sampled);
        }

        output.WriteLine($"{merged} pages merged in the end, {sampled} sampled on the way");
        Assert.True(merged > 10_000 && sampled > 10_000);
    }

    [Fact]
    public void AnEngineThatDoesNotMarkWhatItReadMissesMergesAndTheComparisonShowsIt()
    {
        int caught = 0;
        for (int seed = 1; seed <= 20; seed++)
        {
            var broken = new SamplingHistory(seed, Always with { MarksWhatWasRead = false });
            var without = new SamplingHistory(seed, Never);
            for (int step = 0; step < 40; step++)
            {
                broken.Act();
                without.Act();
            }

            caught += without.Settle().SequenceEqual(broken.Settle()) ? 0 : 1;
        }

        Assert.InRange(caught, 5, 20);
    }

    private static ulong SeedWithBothLinesIn(int half)
    {
        for (ulong seed = 1; ; seed++)
        {
            if (PageSampler.Create(seed).Offsets.ToArray().All(offset => offset / (PageSize.Bytes / 2) == half))
            {
                return seed;
            }
        }
    }

    /// <summary>Pages that differ only in one half.</summary>
    private static MemoryProcess Differing(World world, int half, int pages)
    {
        MemoryProcess process = world.Start(pages, _ => 1);
        for (int i = 0; i < pages; i++)
        {
            process.Write(World.Base + (ulong)i, PageContent.Of(1).With(half, (ulong)i + 2));
        }

        return process;
    }
}

/// <summary>
/// Processes that write and drop pages, and an engine that scans, merges and un-merges, by seed. What happens depends on
/// the seed only, not on what the engine does.
/// </summary>
internal sealed class SamplingHistory
{
    private const int Pages = 700;

    private readonly Random _random;
    private readonly World _world;
    private readonly List<MemoryProcess> _processes = [];

    public SamplingHistory(int seed, SamplingOptions sampling)
    {
        _random = new Random(seed);
        _world = new World(seed: (ulong)seed, sampling: sampling);
        for (int i = 0; i < 4; i++)
        {
            _processes.Add(_world.Start(Pages, page => page + ((ulong)i * 100_000), i == 3 ? "other" : "d"));
        }
    }

    public long Sampled => _processes.Sum(process => process.PagesSampled);

    public void Act()
    {
        int choice = _random.Next(20);
        MemoryProcess process = _processes[_random.Next(_processes.Count)];
        ulong first = World.Base + (ulong)_random.Next(Pages);
        ulong count = Math.Min((ulong)_random.Next(1, 300), World.Base + Pages - first);
        ulong salt = (ulong)_random.Next(4);
        int half = _random.Next(2);
        var range = new PageRange(first, first + count);
        Action action = choice switch
        {
            < 8 => () => process.Fill(range, page => page - World.Base + (salt * 100_000)),
            < 10 => () => process.Fill(range, _ => salt),
            < 12 => () => Halves(process, range, half, salt),
            < 13 => () => Drop(process, range),
            < 16 => () => _world.Merge(),
            < 19 => () => _world.Passes(2),
            _ => UnmergeAll,
        };
        action();
        Assert.Empty(_world.Machine.Check());
    }

    /// <summary>
    /// Merges what there is, and tells of each page that has an equal one in its domain whether it is merged. A lone page may
    /// be merged or not: that depends on when its partner was written.
    /// </summary>
    public IReadOnlyList<string> Settle()
    {
        _world.Merge();
        _world.Merge();
        _world.CheckAtRest();
        return
        [
            .. _world.Engine.Targets
                .SelectMany(target => ((MemoryProcess)target.Target).Observe().Select(page => (target, page)))
                .GroupBy(each => (each.target.Domain, each.page.Reads))
                .Where(equal => equal.Count() > 1)
                .SelectMany(equal => equal)
                .Select(each => $"{each.target.Target.Name} {each.page.Page:x} {each.page.Reads:x} {each.page.IsShared}"),
        ];
    }

    private static void Halves(MemoryProcess process, PageRange range, int half, ulong salt)
    {
        foreach (ulong page in MemoryProcess.PagesOf(range))
        {
            process.Write(page, PageContent.Of(salt).With(half, page));
        }
    }

    private static void Drop(MemoryProcess process, PageRange range)
    {
        foreach (ulong page in MemoryProcess.PagesOf(range))
        {
            process.Drop(page);
        }
    }

    private void UnmergeAll() => _world.Engine.UnmergeAll(null, TestContext.Current.CancellationToken);
}
