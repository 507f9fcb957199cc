using System.Globalization;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// Programs that check their own memory while it is merged and un-merged without pause. That each of them notices
/// damage is shown by VictimTests (--broken) and by BrokenVariantTests.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class SelfVerifyingTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(90);

    /// <summary>Program, arguments, seconds, pages that have to be merged at least (or the test shows nothing).</summary>
    public static TheoryData<string, string, double, int> Programs => new()
    {
        { "writers", "--threads 0", 2, 500 },
        // So many writers leave no two pages equal for long; the case with "fill" above merges under 32 threads.
        { "writers", "--threads 32", 3, 0 },
        { "golike", "--threads 12", 2, 500 },
        { "siblings", "--threads 2", 4, 500 },
        { "rseq_counters", "--threads 4", 2, 100 },
        { "signals", "", 2, 0 },
        { "vforks", "--threads 2", 3, 100 },
        { "forks", "--threads 3", 3, 100 },
        { "stopped", "", 3, 100 },
    };

    [Theory]
    [InlineData("writers,kernel,readers", 10_000_000, 2)]
    [InlineData("churn,writers", 200_000, 2)]
    [InlineData("fill,writers", 1_000_000, 32)]
    public void A_dotnet_program_loses_nothing_and_reads_nothing_wrong(string modes, long operations, int threads)
    {
        using var harness = new LiveHarness();
        using var victim = Victim.Start(
            "--mode", modes, "--pages", "1024", "--threads", threads.ToString(CultureInfo.InvariantCulture));
        RegisteredTarget target = harness.Attach(victim);
        LoopCounts counts = harness.MergeAndUnmergeFor(victim, operations, Limit);
        harness.Detach(target);
        (VictimReport report, int exitCode) = victim.Quit();
        output.WriteLine($"{modes}: {report}; {counts}; longest stop {harness.Machine.StopTimes.MaxNanoseconds / 1000} us");
        Assert.True(report.Operations >= operations, report.ToString());
        // Churn takes away most of what was merged before it can be un-merged.
        Assert.True(counts.Merged > 1000 && counts.Unmerged > 100, counts.ToString());
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    [Theory]
    [MemberData(nameof(Programs))]
    public void A_program_in_C_does_not_notice(string program, string arguments, double seconds, int pages)
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start(program, Split(arguments));
        Run(harness, victim, program + " " + arguments, seconds, pages);
    }

    /// <summary>A handler that runs just when the borrowed thread gets its mask back returns into the padding of the vDSO:
    /// seen as a crash of one process in some ten detaches under fire of signals.</summary>
    [Fact]
    public void Attach_and_detach_under_fire_of_signals()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("signals", []);
        for (int i = 0; i < 25; i++)
        {
            RegisteredTarget target = harness.Attach(victim);
            harness.Detach(target);
        }

        (VictimReport report, int exitCode) = victim.Quit();
        Assert.True(report.Operations > 0 && report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    [Fact]
    public void A_statically_linked_program_does_not_notice()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("writers", ["--threads", "4"], isStatic: true);
        Run(harness, victim, "static", 2, 500);
    }

    [Fact]
    public void A_Python_program_does_not_notice()
    {
        using var harness = new LiveHarness();
        using ScriptVictim victim = ScriptVictim.StartPython("objects.py");
        Run(harness, victim, "python", 3, 500);
    }

    [Fact]
    public void Direct_reads_from_disk_in_flight_arrive()
    {
        using var harness = new LiveHarness();
        // Not in /tmp, which may be a tmpfs.
        string file = Path.Combine(AppContext.BaseDirectory, $"odirect-{Environment.ProcessId}.data");
        using var victim = CVictim.Start("odirect", ["--threads", "4", "--file", file]);
        RegisteredTarget target = harness.Attach(victim);
        LoopCounts counts = harness.MergeAndUnmergeFor(4);
        Assert.True(counts.Merged > 100, counts.ToString());
        int left = harness.DetachAsyncWriter(target);
        (VictimReport report, int exitCode) = victim.Quit();
        output.WriteLine($"odirect: {report}; {counts}; {left} pages in mappings that stay");
        Assert.True(report.Operations > 1000, report.ToString());
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    [Fact]
    public void A_stopped_process_is_merged_and_stays_stopped()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("writers", ["--threads", "3"]);
        DetachedProcess.Run("kill", ["-STOP", $"{victim.Pid}"]);
        DetachedProcess.WaitUntil(() => States(victim.Pid).All(state => state == 'T'), Limit, "not stopped");
        RegisteredTarget target = harness.Attach(victim);
        // Every second round un-merges what was merged.
        LoopCounts counts = harness.MergeAndUnmergeFor(1, pages: 4000);
        Assert.True(counts.Merged > 1000 && counts.Unmerged > 1000, counts.ToString());
        // A thread that is let go wakes up for a moment to join the group's stop again.
        DetachedProcess.WaitUntil(() => States(victim.Pid).All(state => state == 'T'), Limit, "not stopped any more");
        DetachedProcess.Run("kill", ["-CONT", $"{victim.Pid}"]);
        Run(harness, victim, "continued", 1, 100, target);
    }

    [Fact]
    public void No_blocked_call_ends_early_or_is_interrupted()
    {
        using var harness = new LiveHarness();
        using var victim = CVictim.Start("blocked", []);
        RegisteredTarget target = harness.Attach(victim);
        // SIGUSR1 and SIGUSR2, blocked by those of its threads that wait for them, but for the wait itself.
        harness.ExpectMasks(target, "0000000000000200", "0000000000000800");
        // Not without pause: a wait that a stop makes start again has to come to its end some time.
        long merged = 0;
        var watch = System.Diagnostics.Stopwatch.StartNew();
        for (TimeSpan time = LiveHarness.Time(6); watch.Elapsed < time; Thread.Sleep(15))
        {
            merged += harness.Merge().PagesMerged;
            harness.Unmerge();
        }

        harness.DetachAsyncWriter(target);
        // Waits whose time-out every stop starts anew come to their end now, if they were not lost.
        Thread.Sleep(1000);
        (VictimReport report, int exitCode) = victim.Quit();
        output.WriteLine($"{merged} pages merged\n{report}");
        Assert.True(merged > 100, $"only {merged} pages merged");
        Assert.All(
            report.Details.Select(line => line.Split(' ')[1]),
            name => Assert.True(report.Detail("call", name)["returns"] > 0, $"{name} never returned\n{report}"));
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    private void Run(
        LiveHarness harness, Victim victim, string name, double seconds, int pages, RegisteredTarget? attached = null)
    {
        RegisteredTarget target = attached ?? harness.Attach(victim);
        LoopCounts counts = harness.MergeAndUnmergeFor(seconds, pages);
        harness.Detach(target);
        (VictimReport report, int exitCode) = victim.Quit();
        output.WriteLine($"{name}: {report}; {counts}; longest stop {harness.Machine.StopTimes.MaxNanoseconds / 1000} us");
        Assert.True(report.Operations > 0, report.ToString());
        Assert.True(counts.Merged >= pages, counts.ToString());
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    private static List<char> States(int pid) =>
    [
        .. Directory.EnumerateDirectories($"/proc/{pid}/task").Select(task =>
        {
            string text = File.ReadAllText($"{task}/stat");
            return text[text.LastIndexOf(')') + 2];
        }),
    ];

    private static string[] Split(string arguments) => arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
