using System.Globalization;
using Samepage.Linux.Program;

namespace Samepage.Linux.Tests.Live;

/// <summary>What a stop window leaves for the next one, and what it must not leave in the target.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class WindowTests(ITestOutputHelper output)
{
    /// <summary>Two operations, and in the store up to the slot before the one that stays empty.</summary>
    private const int RunPages = 511;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_a_window_has_no_time_for_is_done_by_the_next(bool hasTime)
    {
        using var harness = new LiveHarness(options => options with
        {
            BatchTime = TimeSpan.FromMilliseconds(500),
            EnoughTime = hasTime ? TimeSpan.FromMilliseconds(900) : TimeSpan.Zero,
        });
        using LivePuppet puppet = LivePuppet.Start();
        (LiveTarget target, byte[] before, MergePlan[] plans) = Prepare(harness, puppet, 3 * RunPages);
        IPageStore store = harness.Machine.OpenStore(target.Domain);
        target.Execute(store, plans);
        long windows = harness.Machine.StopTimes.Count;
        output.WriteLine($"{windows} windows");
        Assert.All(plans, plan => Assert.Equal((PlanOutcome.Done, plan.Count), (plan.Outcome, plan.DonePages)));
        // Six operations, or more smaller ones where the windows before were slow.
        Assert.True(hasTime ? windows == 1 : windows >= 6, $"{windows} windows");
        byte[] after = new byte[before.Length];
        Assert.Equal(3 * RunPages, target.Read([Range(plans)], after));
        Assert.True(before.AsSpan().SequenceEqual(after));
        ulong cursor = plans[0].Start;
        var runs = new SharedRun[16];
        int count = target.ScanShared(ref cursor, Range(plans).End, runs);
        Assert.Equal(3 * RunPages, runs.Take(count).Sum(run => (int)run.Count));
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(4, false)]
    [InlineData(4, true)]
    public void Nothing_of_the_store_window_stays_resident(int runs, bool broken)
    {
        using var harness = new LiveHarness(options => options with { KeepsStoreWindow = broken });
        using LivePuppet puppet = LivePuppet.Start();
        (LiveTarget target, _, MergePlan[] plans) = Prepare(harness, puppet, runs * RunPages);
        target.Execute(harness.Machine.OpenStore(target.Domain), plans);
        Assert.All(plans, plan => Assert.Equal(PlanOutcome.Done, plan.Outcome));
        long resident = StoreWindowResident(puppet.Pid, target.Control.Header(ControlLayout.Window));
        output.WriteLine($"{resident} kB");
        Assert.Equal(broken, resident > 0);
    }

    [Fact]
    public void Nothing_of_ours_goes_into_a_core_dump_or_to_a_child()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        (LiveTarget target, _, _) = Prepare(harness, puppet, RunPages);
        foreach (int area in (ReadOnlySpan<int>)[ControlLayout.Shadow, ControlLayout.Window, ControlLayout.Base])
        {
            string start = target.Control.Header(area).ToString("x", CultureInfo.InvariantCulture) + "-";
            string flags = File.ReadLines($"/proc/{puppet.Pid}/smaps")
                .SkipWhile(line => !line.StartsWith(start, StringComparison.Ordinal))
                .First(line => line.StartsWith("VmFlags:", StringComparison.Ordinal));
            Assert.Contains(" dc ", flags, StringComparison.Ordinal);
            Assert.Contains(" dd ", flags, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void What_a_dead_daemon_left_in_the_store_window_goes_with_the_first_merge()
    {
        using var harness = new LiveHarness(options => options with { KeepsStoreWindow = true });
        using LivePuppet puppet = LivePuppet.Start();
        (LiveTarget target, _, MergePlan[] plans) = Prepare(harness, puppet, 2 * RunPages);
        target.Execute(harness.Machine.OpenStore(target.Domain), plans.AsSpan(0, 1));
        ulong window = target.Control.Header(ControlLayout.Window);
        Assert.True(StoreWindowResident(puppet.Pid, window) > 0);

        using LiveMachine successor = LiveMachine.Open(harness.Machine.Options with { KeepsStoreWindow = false });
        LiveTarget adopted = successor.Attach(puppet.Pid, new AttachRequest());
        _ = adopted.RefreshRegions(force: true);
        adopted.Execute(successor.OpenStore(adopted.Domain), plans.AsSpan(1, 1));
        Assert.Equal(PlanOutcome.Done, plans[1].Outcome);
        Assert.Equal(0, StoreWindowResident(puppet.Pid, window));
    }

    /// <summary>A puppet with pages of content, the same bytes in the store, and plans to share them in runs.</summary>
    private static (LiveTarget Target, byte[] Bytes, MergePlan[] Plans) Prepare(LiveHarness harness, LivePuppet puppet, int pages)
    {
        // The last pages may lie beside the thread's own data, where nothing is merged.
        const int beside = 16;
        ulong first = puppet.MapFilled(pages + beside) >> PageSize.Shift;
        var target = (LiveTarget)harness.Attach(puppet.Pid).Target;
        byte[] bytes = new byte[pages * PageSize.Bytes];
        Assert.Equal(pages, target.Read([new PageRange(first, first + (ulong)pages)], bytes));
        IPageStore store = harness.Machine.OpenStore(target.Domain);
        var plans = new MergePlan[pages / RunPages];
        for (int i = 0; i < plans.Length; i++)
        {
            store.Write((uint)i * 512, bytes.AsSpan(i * RunPages * PageSize.Bytes, RunPages * PageSize.Bytes));
            plans[i] = new MergePlan
            {
                Start = first + (ulong)(i * RunPages), Count = RunPages, Slot = (uint)i * 512, Kind = PlanKind.Share,
            };
        }

        return (target, bytes, plans);
    }

    private static PageRange Range(MergePlan[] plans) => new(plans[0].Start, plans[^1].Start + plans[^1].Count);

    private static long StoreWindowResident(int pid, ulong address)
    {
        string start = address.ToString("x", CultureInfo.InvariantCulture) + "-";
        string line = File.ReadLines($"/proc/{pid}/smaps")
            .SkipWhile(line => !line.StartsWith(start, StringComparison.Ordinal))
            .First(line => line.StartsWith("Rss:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}
