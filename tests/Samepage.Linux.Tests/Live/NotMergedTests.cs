using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>What is not merged, and that the reason is counted.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class NotMergedTests(ITestOutputHelper output)
{
    private const int Pages = 16;

    [Fact]
    public void Locked_shared_file_and_special_memory_and_stacks_are_counted_and_left_alone()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong locked = puppet.MapFilled(Pages);
        puppet.Expect($"lock {locked:x} {Pages}");
        ulong shared = puppet.Do($"shared {Pages}");
        puppet.Fill(shared, Pages);
        ulong sealedOff = puppet.MapFilled(Pages);
        puppet.Expect($"advise {sealedOff:x} {Pages} 18"); // MADV_WIPEONFORK
        RegisteredTarget target = harness.Attach(puppet.Pid);
        harness.Merge();
        var counted = target.Status().NotMerged;
        output.WriteLine(string.Join(' ', counted.Select(pair => $"{pair.Key}={pair.Value}")));
        Assert.True(counted[NotMergedReason.Mlocked] >= Pages);
        Assert.True(counted[NotMergedReason.Shared] >= Pages);
        Assert.True(counted[NotMergedReason.Protected] >= Pages);
        Assert.True(counted[NotMergedReason.FileBacked] > 0);
        Assert.True(counted[NotMergedReason.Stack] > 0);
        Assert.True(counted[NotMergedReason.Special] > 0);
        Assert.Equal(0, Merged(target, locked) + Merged(target, shared) + Merged(target, sealedOff));
        harness.DetachAll();
    }

    [Fact]
    public void Huge_pages_are_counted_and_left_alone()
    {
        const string knob = "/proc/sys/vm/nr_hugepages";
        Puppet.SkipUnlessRoot();
        string before = File.ReadAllText(knob);
        try
        {
            File.WriteAllText(knob, "4");
            Assert.SkipUnless(int.Parse(File.ReadAllText(knob)) >= 2, "no huge pages can be reserved on this machine");
            using var harness = new LiveHarness();
            using LivePuppet puppet = LivePuppet.Start();
            ulong huge = puppet.Do("huge 512");
            Assert.SkipWhen(huge == ulong.MaxValue, "no huge page could be mapped on this machine");
            puppet.Fill(huge, 512);
            RegisteredTarget target = harness.Attach(puppet.Pid);
            harness.Merge();
            Assert.True(target.Status().NotMerged.GetValueOrDefault(NotMergedReason.HugePage) > 0);
            Assert.Equal(0, Merged(target, huge));
            harness.DetachAll();
        }
        finally
        {
            File.WriteAllText(knob, before);
        }
    }

    // Reading them (process_vm_readv) would give the parent copies of its own; here nobody reads before the move.
    [Fact]
    public void Pages_shared_with_a_forked_child_are_refused_until_they_are_private()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(Pages);
        _ = puppet.Do("fork");
        var target = (LiveTarget)harness.Attach(puppet.Pid, [Puppet.Pages(address, Pages)]).Target;
        IPageStore store = harness.Machine.OpenStore(target.Domain);
        byte[] bytes = new byte[PageSize.Bytes];
        Array.Fill(bytes, (byte)1);
        store.Write(0, bytes);
        MergePlan[] plans = [new MergePlan { Start = address >> PageSize.Shift, Count = 1, Slot = 0, Kind = PlanKind.Share }];
        target.Execute(store, plans);
        Assert.Equal(PlanOutcome.Pinned, plans[0].Outcome);
        puppet.Fill(address, Pages);
        target.Execute(store, plans);
        Assert.Equal(PlanOutcome.Done, plans[0].Outcome);
        Assert.Equal(0x0101010101010101ul, puppet.Do($"read {address:x}"));
    }

    /// <summary>A window skips every operation that meets the page before, of, or behind its borrowed thread's data. Of a run
    /// around it, only those pages may be lost.</summary>
    [Theory]
    [InlineData(10, 50, 50)]
    [InlineData(90, 50, 9)]
    [InlineData(98, 50, 1)]
    [InlineData(99, 50, 3)]
    [InlineData(100, 50, 2)]
    [InlineData(101, 50, 1)]
    [InlineData(102, 50, 50)]
    [InlineData(100, 1, 1)]
    public void An_operation_ends_where_the_neighbourhood_of_thread_data_begins_or_ends(uint page, uint count, uint expected) =>
        Assert.Equal(expected, LiveTarget.ClearOf([100, 7000], page, count));

    [Fact]
    public void A_forked_child_keeps_its_bytes_when_its_parent_is_merged()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(Pages);
        int child = (int)puppet.Do("fork");
        RegisteredTarget target = harness.Attach(puppet.Pid, [Puppet.Pages(address, Pages)]);
        harness.Merge();
        output.WriteLine($"{Merged(target, address)} pages merged, {target.Status().NotMerged.Values.Sum()} not");
        byte[] bytes = new byte[PageSize.Bytes];
        using FileStream memory = new($"/proc/{child}/mem", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 0);
        puppet.Fill(address, Pages, seed: 99);
        for (int page = 0; page < Pages; page++)
        {
            memory.Position = (long)address + page * PageSize.Bytes;
            memory.ReadExactly(bytes);
            Assert.All(bytes, value => Assert.Equal((byte)(1 + page | 1), value));
        }

        harness.DetachAll();
        DetachedProcess.Kill(child);
    }

    [Fact]
    public void Buffers_registered_with_io_uring_are_refused_as_pinned()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(Pages);
        ulong answer = puppet.Do($"pin {address:x} {Pages}");
        Assert.SkipUnless(answer == 0, $"io_uring cannot register buffers here (errno {-(long)answer})");
        RegisteredTarget target = harness.Attach(puppet.Pid, [Puppet.Pages(address, Pages)]);
        harness.Merge();
        var counted = target.Status().NotMerged;
        Assert.True(
            counted.GetValueOrDefault(NotMergedReason.Pinned) >= Pages / 2,
            string.Join(' ', counted.Select(pair => $"{pair.Key}={pair.Value}")));
        Assert.Equal(0, Merged(target, address));
    }

    [Fact]
    public void A_process_near_its_limit_of_mappings_is_left_alone()
    {
        int limit = int.Parse(File.ReadAllText("/proc/sys/vm/max_map_count"));
        using var harness = new LiveHarness(options => options with { VmaReserve = limit - 10 });
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(Pages);
        RegisteredTarget target = harness.Attach(puppet.Pid, [Puppet.Pages(address, Pages)]);
        harness.Merge();
        var counted = target.Status().NotMerged;
        Assert.True(
            counted.GetValueOrDefault(NotMergedReason.OverVmaBudget) >= Pages / 2,
            string.Join(' ', counted.Select(pair => $"{pair.Key}={pair.Value}")));
        Assert.Equal(0, Merged(target, address));
        harness.DetachAll();
    }

    [Fact]
    public void Equal_pages_of_another_domain_are_counted_and_never_shared()
    {
        using var harness = new LiveHarness();
        using LivePuppet first = LivePuppet.Start(), second = LivePuppet.Start();
        // Each has one page of each content: partners exist in the other domain only.
        ulong a = Distinct(first), b = Distinct(second);
        RegisteredTarget one = harness.Attach(first.Pid, [Puppet.Pages(a, Pages)], "red");
        RegisteredTarget two = harness.Attach(second.Pid, [Puppet.Pages(b, Pages)], "blue");
        harness.Merge();
        harness.Merge();
        Assert.Equal(0, Merged(one, a) + Merged(two, b));
        var counted = harness.Engine.Status().NotMerged;
        Assert.True(
            counted.GetValueOrDefault(NotMergedReason.OtherDomain) >= Pages / 2,
            string.Join(' ', counted.Select(pair => $"{pair.Key}={pair.Value}")));
        harness.DetachAll();
    }

    [Fact]
    public void Memory_outside_the_ranges_is_left_alone()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong inside = puppet.MapFilled(Pages), outside = puppet.MapFilled(Pages);
        RegisteredTarget target = harness.Attach(puppet.Pid, [Puppet.Pages(inside, Pages)]);
        harness.Merge();
        Assert.True(Merged(target, inside) >= Pages / 2);
        Assert.Equal(0, Merged(target, outside));
        harness.DetachAll();
    }

    private static ulong Distinct(LivePuppet puppet)
    {
        ulong address = puppet.Map(Pages);
        for (int page = 0; page < Pages; page++)
        {
            puppet.Fill(address + ((ulong)page << PageSize.Shift), 1, seed: 2 * page + 1);
        }

        return address;
    }

    /// <summary>Pages from an address on that the kernel shows mapped from a store.</summary>
    private static int Merged(RegisteredTarget target, ulong address)
    {
        var live = (LiveTarget)target.Target;
        _ = live.RefreshRegions(force: true);
        ulong cursor = address >> PageSize.Shift;
        Span<SharedRun> runs = stackalloc SharedRun[64];
        int count = live.ScanShared(ref cursor, cursor + Pages, runs);
        int pages = 0;
        foreach (SharedRun run in runs[..count])
        {
            pages += (int)run.Count;
        }

        return pages;
    }
}
