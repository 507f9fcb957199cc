using System.Text;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Tests.Proc;

public class VmaClassifierTests
{
    private const string Plain = "rd wr mr mw me ac";

    [Theory]
    [InlineData("rw-p 0 00:00 0", Plain, null)]
    [InlineData("rwxp 0 00:00 0", Plain + " ex", null)]
    [InlineData("rw-p 0 00:00 0 [heap]", Plain, null)]
    [InlineData("rw-p 0 00:00 0 [anon:cache]", Plain, null)]
    [InlineData("rw-p 0 00:00 0 [stack]", Plain + " gd", NotMergedReason.Stack)]
    [InlineData("rw-p 0 00:00 0", Plain + " gd", NotMergedReason.Stack)]
    [InlineData("r-xp 0 00:00 0 [vdso]", "rd ex mr mw me de", NotMergedReason.Special)]
    [InlineData("r--p 0 00:00 0 [vvar]", "rd mr pf io de dd", NotMergedReason.Special)]
    [InlineData("--xp 0 00:00 0 [vsyscall]", "ex", NotMergedReason.Special)]
    [InlineData("rw-p 0 00:00 0 [uprobes]", Plain, NotMergedReason.Special)]
    [InlineData("rw-p 0 00:00 0", Plain + " ss", NotMergedReason.Special)]
    [InlineData("rw-p 0 00:00 0", Plain + " mm", NotMergedReason.Special)]
    [InlineData("rw-s 0 00:01 9 /dev/zero (deleted)", Plain + " sh", NotMergedReason.Shared)]
    [InlineData("rw-p 0 fe:01 9 /lib/a.so", Plain, NotMergedReason.FileBacked)]
    [InlineData("r--p 0 00:00 0", "rd mr mw me ac", NotMergedReason.NotWritable)]
    [InlineData("---p 0 00:00 0", "mr mw me", NotMergedReason.NotWritable)]
    [InlineData("-w-p 0 00:00 0", "wr mr mw me ac", NotMergedReason.NotWritable)]
    [InlineData("rw-p 0 00:00 0", Plain + " lo", NotMergedReason.Mlocked)]
    [InlineData("rw-p 0 00:00 0", Plain + " lf", NotMergedReason.Mlocked)]
    [InlineData("rw-p 0 00:0f 9 /anon_hugepage (deleted)", Plain + " ht de", NotMergedReason.HugePage)]
    [InlineData("rw-p 0 00:00 0", Plain + " wf", NotMergedReason.Protected)]
    [InlineData("rw-p 0 00:00 0", Plain + " uw", NotMergedReason.Protected)]
    [InlineData("rw-p 0 00:00 0", Plain + " um", NotMergedReason.Protected)]
    [InlineData("rw-p 0 00:00 0", Plain + " sl", NotMergedReason.Protected)]
    [InlineData("rw-p 0 00:00 0", Plain + " zz", NotMergedReason.Protected)]
    public void AMappingIsJudgedByWhatTheKernelSaysOfIt(string line, string flags, NotMergedReason? expected)
    {
        VmaSegment segment = Classify(line, flags, new VmaRules());
        Assert.Equal(expected is null ? SegmentKind.Anonymous : SegmentKind.NotMerged, segment.Kind);
        Assert.Equal(expected ?? default, segment.Reason);
        Assert.Equal(2ul, segment.ResidentPages);
    }

    [Fact]
    public void AProtectionKeyForbidsMerging()
    {
        SmapsParser parser = new("1000-3000 rw-p 0 00:00 0 \nProtectionKey:  1\nVmFlags: rd wr\n"u8);
        Assert.True(parser.TryNext(out SmapsEntry entry));
        Assert.Equal(NotMergedReason.Protected, VmaClassifier.Classify(entry, new VmaRules()).Reason);
        Assert.Equal(SegmentKind.NotMerged, VmaClassifier.Classify(entry, new VmaRules()).Kind);
    }

    [Fact]
    public void AMappingWithoutFlagsIsLeftAlone()
    {
        SmapsParser parser = new("1000-3000 rw-p 0 00:00 0 \nRss: 8 kB\n"u8);
        Assert.True(parser.TryNext(out SmapsEntry entry));
        Assert.Equal(NotMergedReason.Protected, VmaClassifier.Classify(entry, new VmaRules()).Reason);
    }

    [Fact]
    public void UserfaultfdFlagsAreFineWhereTheyAreOurs()
    {
        VmaRules rules = new() { Tracked = [new PageRange(0, 1), new PageRange(1, 3), new PageRange(9, 10)] };
        Assert.Equal(SegmentKind.Anonymous, Classify("rw-p 0 00:00 0", Plain + " um uw", rules).Kind);
    }

    [Fact]
    public void OwnMappingsAreNeitherMergedNorCounted()
    {
        VmaRules rules = new() { Own = [new PageRange(1, 3)] };
        Assert.Equal(SegmentKind.Own, Classify("rw-p 0 00:00 0", Plain, rules).Kind);
    }

    [Fact]
    public void AMappingOfTheStoreKnowsItsSlot()
    {
        VmaRules rules = new() { Store = new FileIdentity(0, 0x2a, 7) };
        VmaSegment segment = Classify("rw-p 00005000 00:2a 7 /#7 (deleted)", Plain + " uw um ui nr", rules);
        Assert.Equal((SegmentKind.Merged, 5u), (segment.Kind, segment.Slot));
        Assert.Equal(NotMergedReason.FileBacked, Classify("rw-p 5000 00:2a 8 /#8 (deleted)", Plain, rules).Reason);
    }

    [Fact]
    public void AdviceThatAReplacedMappingWouldLoseIsReported() => Assert.Equal(
        VmaAdvice.DontFork | VmaAdvice.DontDump | VmaAdvice.HugePage | VmaAdvice.NoHugePage | VmaAdvice.Mergeable |
        VmaAdvice.RandomRead | VmaAdvice.SequentialRead | VmaAdvice.NoReserve,
        Classify("rw-p 0 00:00 0", Plain + " dc dd hg nh mg rr sr nr", new VmaRules()).Advice);

    [Fact]
    public void RegionsJoinNeighboursThatAreTreatedAlike()
    {
        VmaTable table = new();
        void Add(ulong start, ulong end, SegmentKind kind, VmaAdvice advice = 0) => Assert.True(table.Add(
            new VmaSegment { Range = new PageRange(start, end), Kind = kind, Advice = advice, ResidentPages = 3 }));
        Add(10, 20, SegmentKind.Anonymous);
        Add(20, 25, SegmentKind.Merged);
        Add(25, 30, SegmentKind.Anonymous);
        Add(30, 40, SegmentKind.Anonymous, VmaAdvice.DontDump);
        Add(40, 41, SegmentKind.NotMerged);
        Add(41, 50, SegmentKind.Merged);
        Add(60, 70, SegmentKind.Merged);
        table.BuildRegions();
        Assert.Equal(
            [new PageRange(10, 30), new PageRange(30, 40), new PageRange(41, 50), new PageRange(60, 70)],
            table.Regions);
        Assert.Equal(3, table.NotMergedPages[0]);
        Assert.False(table.Add(new VmaSegment { Range = new PageRange(65, 80) }));
        Assert.True(table.TryFind(24, out VmaSegment found));
        Assert.Equal(SegmentKind.Merged, found.Kind);
        Assert.False(table.TryFind(55, out _));
    }

    private static VmaSegment Classify(string line, string flags, VmaRules rules)
    {
        byte[] text = Encoding.UTF8.GetBytes($"1000-3000 {line}\nRss: 8 kB\nProtectionKey: 0\nVmFlags: {flags} \n");
        SmapsParser parser = new(text);
        Assert.True(parser.TryNext(out SmapsEntry entry));
        return VmaClassifier.Classify(entry, rules);
    }
}
