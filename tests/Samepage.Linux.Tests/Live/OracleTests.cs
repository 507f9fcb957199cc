using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>What the kernel says about merged pages, independent of our own counters.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class OracleTests(ITestOutputHelper output)
{
    private const ulong Present = 1ul << 63, FileOrShared = 1ul << 61, FrameMask = (1ul << 55) - 1;

    [Fact]
    public void Equal_pages_of_two_processes_are_one_frame_after_merging_and_two_after_unmerging()
    {
        using var harness = new LiveHarness();
        using var first = Victim.Start("--mode", "fill", "--pages", "512");
        using var second = Victim.Start("--mode", "fill", "--pages", "512");
        RegisteredTarget one = harness.Attach(first, first.Regions);
        RegisteredTarget two = harness.Attach(second, second.Regions);
        PageRange a = first.Regions[0], b = second.Regions[0];
        Assert.Empty(Pairs(first.Pid, a, second.Pid, b));
        long before = Guests.MemoryOf(first.Pid, "Pss") + Guests.MemoryOf(second.Pid, "Pss");

        MergeReport report = harness.Merge();
        List<int> pairs = Pairs(first.Pid, a, second.Pid, b);
        long after = Guests.MemoryOf(first.Pid, "Pss") + Guests.MemoryOf(second.Pid, "Pss");
        output.WriteLine($"{pairs.Count} pages in one frame; {report.BytesSaved} bytes saved, PSS {before} -> {after}");
        // Three quarters of the region come from a common pool (Content); the last page of a mapping is never merged.
        Assert.InRange(pairs.Count, 512 * 6 / 8 - 8, 512);
        Assert.InRange(before - after, report.BytesSaved * 8 / 10, report.BytesSaved * 12 / 10);

        harness.Unmerge();
        Assert.Empty(Pairs(first.Pid, a, second.Pid, b));
        harness.DetachAll();
        Assert.Equal(0, first.Quit().Report.Errors + second.Quit().Report.Errors);
    }

    [Fact]
    public void A_write_to_a_merged_page_makes_it_private_and_the_other_keeps_its_bytes()
    {
        using var harness = new LiveHarness();
        using LivePuppet first = LivePuppet.Start(), second = LivePuppet.Start();
        ulong a = first.Map(16), b = second.Map(16);
        first.Fill(a, 15);
        second.Fill(b, 15);
        harness.Attach(first.Pid, [Puppet.Pages(a, 16)]);
        harness.Attach(second.Pid, [Puppet.Pages(b, 16)]);
        harness.Merge();
        Assert.Equal(Frame(first.Pid, a), Frame(second.Pid, b));
        Assert.NotEqual(0ul, Entry(first.Pid, a) & FileOrShared);
        ulong bytes = second.Do($"read {b:x}");
        first.Fill(a, 1, seed: 77);
        Assert.NotEqual(Frame(first.Pid, a), Frame(second.Pid, b));
        Assert.Equal(bytes, second.Do($"read {b:x}"));
        Assert.Equal(77ul * 0x0101010101010101, first.Do($"read {a:x}"));
        harness.DetachAll();
    }

    /// <summary>Pages of one region that lie in the same frame as some page of the other.</summary>
    private static List<int> Pairs(int firstPid, PageRange first, int secondPid, PageRange second)
    {
        HashSet<ulong> frames = [.. Frames(firstPid, first).Where(frame => frame != 0)];
        List<ulong> others = Frames(secondPid, second);
        return [.. Enumerable.Range(0, others.Count).Where(i => others[i] != 0 && frames.Contains(others[i]))];
    }

    // Private pages that nobody shares and the kernel's zero page are no store pages: bit 61 tells them apart.
    private static List<ulong> Frames(int pid, PageRange range) =>
    [
        .. Enumerable.Range(0, (int)range.Count).Select(i => Entry(pid, (range.Start + (ulong)i) << PageSize.Shift))
            .Select(entry => (entry & (Present | FileOrShared)) == (Present | FileOrShared) ? entry & FrameMask : 0),
    ];

    private static ulong Frame(int pid, ulong address)
    {
        ulong entry = Entry(pid, address);
        Assert.NotEqual(0ul, entry & Present);
        return entry & FrameMask;
    }

    private static ulong Entry(int pid, ulong address)
    {
        using FileStream pagemap = new($"/proc/{pid}/pagemap", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 0);
        pagemap.Position = (long)(address >> PageSize.Shift) * 8;
        Span<byte> entry = stackalloc byte[8];
        pagemap.ReadExactly(entry);
        return BitConverter.ToUInt64(entry);
    }
}
