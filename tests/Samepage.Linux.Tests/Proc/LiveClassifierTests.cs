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
