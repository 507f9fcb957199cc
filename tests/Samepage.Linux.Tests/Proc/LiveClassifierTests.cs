using Samepage.Linux.Proc;
using Samepage.Linux.Store;

namespace Samepage.Linux.Tests.Proc;

/// <summary>The classifier against the memory of a real process.</summary>
public class LiveClassifierTests
{
    [Fact]
    public void MemoryOfARealProcessIsClassified()
    {
        using Puppet puppet = Puppet.Start();
        ulong plain = puppet.Map(16);
        puppet.Fill(plain, 16);
        ulong readOnly = puppet.Map(4, protection: 1);
        ulong locked = puppet.Map(4);
        puppet.Expect($"lock {locked:x} 4");
        ulong wiped = puppet.Map(4);
        puppet.Expect($"advise {wiped:x} 4 18"); // MADV_WIPEONFORK
        ulong quiet = puppet.Map(4);
        puppet.Expect($"advise {quiet:x} 4 16"); // MADV_DONTDUMP
        VmaTable table = Classify(puppet, out _);
        Assert.Equal(SegmentKind.Anonymous, Find(table, plain).Kind);
        Assert.Equal(NotMergedReason.NotWritable, Find(table, readOnly).Reason);
        Assert.Equal(NotMergedReason.Mlocked, Find(table, locked).Reason);
        Assert.Equal(NotMergedReason.Protected, Find(table, wiped).Reason);
        Assert.Equal((SegmentKind.Anonymous, VmaAdvice.DontDump), (Find(table, quiet).Kind, Find(table, quiet).Advice));
        Assert.Contains(table.Regions, r => r.Contains(plain >> PageSize.Shift));
        Assert.True(table.NotMergedPages[(int)NotMergedReason.Mlocked] >= 4);
        Assert.True(table.NotMergedPages[(int)NotMergedReason.Stack] > 0);
        Assert.True(table.NotMergedPages[(int)NotMergedReason.FileBacked] > 0);
    }

    [Fact]
    public void NothingNewMeansNoSmaps()
    {
        using Puppet puppet = Puppet.Start();
        ulong address = puppet.Map(16);
        _ = Classify(puppet, out VmaClassifier classifier);
        Assert.False(classifier.Refresh(new VmaRules(), force: false));
        Assert.Equal(1, classifier.SmapsReads);
        _ = puppet.Map(64, protection: 1);
        _ = classifier.Refresh(new VmaRules(), force: false);
        Assert.Equal(2, classifier.SmapsReads);
        puppet.Expect($"unmap {address + PageSize.Bytes:x} 2");
        Assert.True(classifier.Refresh(new VmaRules(), force: false));
    }

    [Fact]
    public void AMappingReplacedAtTheSamePlaceIsLookedAtAgain()
    {
        Puppet.SkipUnlessRoot();
        using Puppet puppet = Puppet.Start();
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, new byte[PageSize.Bytes]);
        ulong address = puppet.Map(1);
        _ = Classify(puppet, out VmaClassifier classifier);
        Assert.Equal(address, puppet.Do($"store {address:x} 0 1 {StoreTests.PathOf(store)}"));
        _ = classifier.Refresh(new VmaRules(), force: false);
        Assert.Equal(NotMergedReason.FileBacked, Find(classifier.Table, address).Reason);
    }

    [Fact]
    public void OwnMergingSplitsAMappingWithoutReadingSmapsAgain()
    {
        Puppet.SkipUnlessRoot();
        using Puppet puppet = Puppet.Start();
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, new byte[PageSize.Bytes * 8]);
        VmaRules rules = new() { Store = store.Identity };
        ulong address = puppet.Map(32);
        puppet.Fill(address, 32);
        using ProcReader proc = ProcReader.TryOpen(puppet.Pid)!;
        VmaClassifier classifier = new(proc);
        Assert.True(classifier.Refresh(rules, force: false));
        PageRange[] before = [.. classifier.Table.Regions];
        foreach ((int at, int slot, int count) in new[] { (4, 0, 2), (10, 5, 3), (0, 1, 1) })
        {
            Assert.NotEqual(ulong.MaxValue, puppet.Do(
                $"store {address + (ulong)(at * PageSize.Bytes):x} {slot} {count} {StoreTests.PathOf(store)}"));
            Assert.False(classifier.Refresh(rules, force: false));
        }

        Assert.Equal(1, classifier.SmapsReads);
        Assert.Equal(before, classifier.Table.Regions);
        VmaSegment merged = Find(classifier.Table, address + 10 * PageSize.Bytes);
        Assert.Equal((SegmentKind.Merged, 5u, 3ul), (merged.Kind, merged.Slot, merged.Range.Count));
        Assert.False(classifier.Refresh(rules, force: true));
        Assert.Equal(2, classifier.SmapsReads);
        Assert.Equal(before, classifier.Table.Regions);
    }

    [Fact]
    public void APieceSplitOffByTheApplicationIsLookedAtAgain()
    {
        using Puppet puppet = Puppet.Start();
        ulong address = puppet.Map(32);
        _ = Classify(puppet, out VmaClassifier classifier);
        puppet.Expect($"lock {address + 4 * PageSize.Bytes:x} 4");
        Assert.True(classifier.Refresh(new VmaRules(), force: false));
        Assert.Equal(NotMergedReason.Mlocked, Find(classifier.Table, address + 4 * PageSize.Bytes).Reason);
    }

    [Fact]
    public void TrackedMemoryStaysMergeableAndTheApplicationsOwnUserfaultfdIsRespected()
    {
        Puppet.SkipUnlessRoot();
        using Puppet puppet = Puppet.Start();
        ulong ours = puppet.Map(33), between = ours + 16 * PageSize.Bytes, theirs = between + PageSize.Bytes;
        puppet.Expect($"protect {between:x} 1 1");
        puppet.Expect($"track {ours:x} 16");
        puppet.Expect($"track {theirs:x} 16");
        VmaClassifier classifier = new(ProcReader.TryOpen(puppet.Pid)!);
        _ = classifier.Refresh(new VmaRules { Tracked = [Puppet.Pages(ours, 16)] }, force: false);
        Assert.Equal(SegmentKind.Anonymous, Find(classifier.Table, ours).Kind);
        Assert.Equal(NotMergedReason.Protected, Find(classifier.Table, theirs).Reason);
    }

    /// <summary>Goal: what is carried over from refresh to refresh never differs from what a look at everything says.
    /// Method: random merging, un-merging, unmapping and protecting in a small region, compared after every
    /// step.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void CarryingOverAgreesWithLookingAtEverything(int seed)
    {
        Puppet.SkipUnlessRoot();
        const int pages = 48, steps = 150;
        using Puppet puppet = Puppet.Start();
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, new byte[pages * PageSize.Bytes]);
        VmaRules rules = new() { Store = store.Identity };
        using ProcReader proc = ProcReader.TryOpen(puppet.Pid)!;
        ulong region = puppet.Map(pages);
        VmaClassifier carried = new(proc);
        Random random = new(seed);
        for (int step = 0; step < steps; step++)
        {
            int first = random.Next(pages), count = random.Next(1, Math.Min(8, pages - first) + 1);
            string at = $"{region + ((ulong)first * PageSize.Bytes):x}";
            string command = random.Next(6) switch
            {
                0 => $"unmap {at} {count}",
                1 => $"anon {at} {count}",
                2 => $"protect {at} {count} {(random.Next(2) == 0 ? 1 : 3)}",
                _ => $"store {at} {random.Next(pages - count + 1)} {count} {StoreTests.PathOf(store)}",
            };
            _ = puppet.Do(command);
            _ = carried.Refresh(rules, force: false);
            VmaClassifier fresh = new(proc);
            _ = fresh.Refresh(rules, force: true);
            Assert.Equal(Describe(fresh.Table), Describe(carried.Table));
            Assert.Equal(fresh.Table.Regions, carried.Table.Regions);
        }

        Assert.True(carried.SmapsReads < steps, "nothing was ever carried over");
    }

    private static string[] Describe(VmaTable table) => [.. table.Segments.ToArray().Select(s =>
        $"{s.Range} {s.Kind} {s.Protection} {(s.Kind == SegmentKind.Merged ? s.Slot : 0)} {s.Reason}")];

    private static VmaSegment Find(VmaTable table, ulong address)
    {
        Assert.True(table.TryFind(address >> PageSize.Shift, out VmaSegment segment));
        return segment;
    }

    private static VmaTable Classify(Puppet puppet, out VmaClassifier classifier)
    {
        classifier = new VmaClassifier(ProcReader.TryOpen(puppet.Pid)!);
        Assert.True(classifier.Refresh(new VmaRules(), force: false));
        return classifier.Table;
    }
}
