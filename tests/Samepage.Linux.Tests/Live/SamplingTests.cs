using System.Diagnostics;
using System.Runtime.InteropServices;
using Samepage.Linux.Program;
using Samepage.Linux.Tests.Support;
using KeeperFixture = Samepage.Linux.Tests.Keeper.KeeperFixture;

namespace Samepage.Linux.Tests.Live;

/// <summary>Samples worked out inside a process, and what it notices of that: nothing.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class SamplingTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Fact]
    public void Samples_are_those_of_the_bytes_that_are_read()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("writers", ["--threads", "0", "--pages", "20000"]);
        var target = (LiveTarget)harness.Attach(victim, victim.Regions).Target;
        ulong first = victim.Regions[0].Start;
        PageRange[] ranges =
        [
            new(first, first + 1), new(first + 3, first + 515), .. Enumerable.Range(0, 200)
                .Select(i => new PageRange(first + 600 + ((ulong)i * 7), first + 603 + ((ulong)i * 7))),
            new(first + 2_500, first + 20_000),
        ];
        int pages = ranges.Sum(range => (int)range.Count);
        byte[] bytes = new byte[pages * PageSize.Bytes];
        Assert.Equal(pages, target.Read(ranges, bytes));
        for (ulong seed = 1; seed <= 5; seed++)
        {
            PageSampler sampler = PageSampler.Create(seed);
            ulong[] samples = new ulong[pages];
            Assert.Equal(pages, target.Sample(ranges, sampler, samples));
            for (int i = 0; i < pages; i++)
            {
                ulong expected = sampler.Sample(bytes.AsSpan(i * PageSize.Bytes, PageSize.Bytes));
                Assert.True(expected == samples[i], $"seed {seed}, page {i}: {samples[i]:x} instead of {expected:x}");
            }
        }

        Assert.Equal(0, target.SampleWindows.Faulted);
        harness.DetachAll();
    }

    [Fact]
    public void Pages_that_are_gone_have_no_sample_and_forbidden_ones_end_the_sampling()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(900);
        var target = (LiveTarget)harness.Attach(puppet.Pid, [Puppet.Pages(address, 900)]).Target;
        ulong first = address >> PageSize.Shift;
        puppet.Expect($"unmap {address + (300 * PageSize.Bytes):x} 300");
        PageRange[] ranges = [new(first, first + 299), new(first + 299, first + 310), new(first + 600, first + 900)];
        ulong[] samples = new ulong[610];
        PageSampler sampler = PageSampler.Create(3);

        Assert.Equal(610, target.Sample(ranges, sampler, samples));
        Assert.DoesNotContain(0ul, samples[..299]);
        Assert.All(samples[299..310], sample => Assert.Equal(0ul, sample));
        Assert.DoesNotContain(0ul, samples[310..]);
        Assert.Equal((1, 0), target.SampleWindows);

        puppet.Expect($"protect {address + (100 * PageSize.Bytes):x} 10 0");
        Assert.Equal(100, target.Sample(ranges, sampler, samples));
        Assert.Equal((2, 1), target.SampleWindows);
        puppet.Expect($"protect {address + (100 * PageSize.Bytes):x} 10 3");
        Assert.Equal(610, target.Sample(ranges, sampler, samples));
        harness.DetachAll();
    }

    [Fact]
    public void A_process_with_system_call_filters_or_none_at_all_is_not_sampled()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(600);
        var target = (LiveTarget)harness.Attach(puppet.Pid, [Puppet.Pages(address, 600)]).Target;
        PageRange[] ranges = [Puppet.Pages(address, 600)];
        ulong[] samples = new ulong[600];
        Assert.Equal(600, target.Sample(ranges, PageSampler.Create(1), samples));
        puppet.Expect("filter");
        Assert.Equal(0, target.Sample(ranges, PageSampler.Create(1), samples));
        DetachedProcess.Kill(puppet.Pid);
        Assert.True(SpinWait.SpinUntil(() => !target.IsAlive, Limit));
        Assert.Equal(0, target.Sample(ranges, PageSampler.Create(1), samples));
    }

    [Fact]
    public void A_merge_that_samples_finds_all_that_is_equal()
    {
        using var harness = new LiveHarness();
        using LivePuppet one = LivePuppet.Start();
        // Each fill makes pages of one byte each, two and two alike: 128 contents.
        ulong address = one.MapFilled(4096);
        RegisteredTarget target = harness.Attach(one.Pid, [Puppet.Pages(address, 4096)]);
        MergeReport report = harness.Merge();
        output.WriteLine($"{report.PagesMerged} merged, windows {((LiveTarget)target.Target).SampleWindows}");
        Assert.Equal(4096, report.PagesMerged);
        Assert.True(((LiveTarget)target.Target).SampleWindows.All > 0);
        harness.DetachAll();
    }

    [Fact]
    public void Threads_that_unmap_drop_and_protect_what_is_sampled_notice_nothing()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("sampled", ["--threads", "3", "--pages", "8192"]);
        var target = (LiveTarget)harness.Attach(victim, victim.Regions).Target;
        PageSampler sampler = PageSampler.Create(5);
        ulong[] samples = new ulong[victim.Regions[0].Count];
        var watch = Stopwatch.StartNew();
        TimeSpan least = LiveHarness.Time(3);
        while (watch.Elapsed < least || (watch.Elapsed < least * 10 && target.SampleWindows is { All: < 200 } or { Faulted: < 10 }))
        {
            harness.Merge();
            // What a merge finds changed after the first time may be too little to be sampled.
            target.Sample([victim.Regions[0]], sampler, samples);
        }

        output.WriteLine($"{target.SampleWindows} windows in {watch.Elapsed.TotalSeconds:0.0} s");
        Assert.True(target.SampleWindows.Faulted > 0, "no page was ever gone when it was sampled");
        harness.DetachAll();
        (VictimReport report, int exitCode) = victim.Quit();
        output.WriteLine(report.ToString());
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_fault_in_a_sample_costs_the_program_its_handler_unless_that_is_put_back(bool restores)
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("sampled", ["--threads", "0"]);
        var target = (LiveTarget)harness.Attach(victim, victim.Regions).Target;
        if (!restores)
        {
            LeaveActionsAsTheyAre(target);
        }

        string[] before = Actions(victim.Pid);
        // In front of the region lies a page without any access.
        ulong first = victim.Regions[0].Start;
        ulong[] samples = new ulong[10];
        Assert.Equal(0, target.Sample([new PageRange(first - 1, first + 9)], PageSampler.Create(1), samples));
        Assert.Equal((1, 1), target.SampleWindows);
        Assert.Equal(restores, before.SequenceEqual(Actions(victim.Pid)));
        Assert.Equal(10, target.Sample([new PageRange(first, first + 10)], PageSampler.Create(1), samples));
        harness.DetachAll();
        Assert.Equal(0, victim.Quit().ExitCode);
    }

    private static string[] Actions(int pid) =>
        [.. File.ReadLines($"/proc/{pid}/status").Where(line => line.StartsWith("SigCgt", StringComparison.Ordinal)
            || line.StartsWith("SigIgn", StringComparison.Ordinal))];

    [Fact]
    public void Killing_the_daemon_while_it_samples_harms_no_process()
    {
        const int kills = 20;
        using var daemon = new LiveDaemon();
        using var victim = CVictim.Start("sampled", ["--threads", "2", "--pages", "16384"]);
        ProcessTrace before = ProcessTrace.Of(victim.Pid);
        daemon.Start();
        int pid = daemon.Await(0, 0, Limit);
        daemon.Ask(HttpMethod.Post, "/v1/targets", $$"""{"pid":{{victim.Pid}}}""");
        var random = new Random(7);
        for (int kill = 0; kill < kills; kill++)
        {
            daemon.AskAndForget(HttpMethod.Post, "/v1/merge", "{}");
            Thread.Sleep(TimeSpan.FromMilliseconds(random.NextDouble() * 30));
            KeeperFixture.Kill(pid);
            Thread.Sleep(20);
            before.AssertThreadsAsBefore();
            daemon.Start();
            pid = daemon.Await(pid, 1, Limit);
        }

        VictimReport report = victim.RunFor(1_000, Limit);
        output.WriteLine(report.ToString());
        daemon.Ask(HttpMethod.Delete, $"/v1/targets/{victim.Pid}");
        (report, int exitCode) = victim.Quit();
        Assert.True(report.Errors == 0, $"{report}\n{daemon.LogTail}");
        Assert.Equal(0, exitCode);
    }

    /// <summary>In this target's copy of the program, the kernel's default stays where it has put it after a fault.</summary>
    private static void LeaveActionsAsTheyAre(LiveTarget target)
    {
        (int restore, int after) = MergeProgram.Current.SampleFault;
        byte[] jump = [0xE9, .. BitConverter.GetBytes(after - restore - 5)];
        Marshal.Copy(jump, 0, target.Control.Address + ControlLayout.Code + restore, jump.Length);
    }
}
