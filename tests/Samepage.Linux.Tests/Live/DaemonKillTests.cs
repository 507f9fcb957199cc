using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;
using Samepage.Linux.Tests.Support;
using KeeperFixture = Samepage.Linux.Tests.Keeper.KeeperFixture;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// The real daemon, killed at random instants while it merges: what it merged stays right, its batch is finished or
/// undone by the target's own thread, and the next daemon takes over.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class DaemonKillTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>How often to kill: SAMEPAGE_KILLS, or 200.</summary>
    private static int Kills =>
        int.TryParse(Environment.GetEnvironmentVariable("SAMEPAGE_KILLS"), CultureInfo.InvariantCulture, out int kills)
            ? kills : 200;

    [Fact]
    public void Killing_the_daemon_at_random_instants_harms_no_process()
    {
        using var daemon = new LiveDaemon();
        using var victim = CVictim.Start("writers", ["--threads", "2", "--pages", "4096"]);
        ProcessTrace before = ProcessTrace.Of(victim.Pid);
        daemon.Start();
        int pid = daemon.Await(0, 0, Limit);
        daemon.Ask(HttpMethod.Post, "/v1/targets", $$"""{"pid":{{victim.Pid}}}""");
        using ControlArea control = ControlAreaOf(victim.Pid);
        int inBatch = 0, dirty = 0, mergedAgain = 0;
        var random = new Random(2026);
        var watch = Stopwatch.StartNew();
        for (int kill = 0; kill < Kills; kill++)
        {
            Work(daemon, kill);
            Thread.Sleep(TimeSpan.FromMilliseconds(random.NextDouble() * 30));
            KeeperFixture.Kill(pid);
            int now = AwaitSlots(control);
            inBatch += now > dirty ? 1 : 0;
            dirty = now;
            before.AssertThreadsAsBefore();
            // The first three times the keeper alone has to bring the daemon back; it does so with growing pauses.
            if (kill >= 3)
            {
                daemon.Start();
            }

            pid = daemon.Await(pid, 1, Limit);
            if (kill % 10 == 0)
            {
                VictimReport report = victim.Report();
                Assert.True(report.Errors == 0, $"after {kill + 1} kills: {report}\n{daemon.LogTail}");
                mergedAgain += daemon.Ask(HttpMethod.Post, "/v1/merge", "{}").GetProperty("pages_merged").GetInt32();
            }
        }

        mergedAgain += daemon.Ask(HttpMethod.Get, $"/v1/targets/{victim.Pid}").GetProperty("merged_pages").GetInt32();
        output.WriteLine($"{Kills} kills in {watch.Elapsed.TotalSeconds:0} s, {inBatch} of them hit a thread in the program; "
            + $"{mergedAgain} pages merged by successors");
        Assert.True(mergedAgain > 0, "no successor merged anything");
        Finish(daemon, victim, before, dirty);
    }

    private void Finish(LiveDaemon daemon, CVictim victim, ProcessTrace before, int dirty)
    {
        daemon.Ask(HttpMethod.Post, "/v1/merge", "{}");
        long operations = victim.Report().Operations;
        VictimReport later = victim.RunFor(100_000, Limit);
        Assert.True(later.Operations > operations);
        daemon.Ask(HttpMethod.Delete, $"/v1/targets/{victim.Pid}");
        before.AssertThreadsAsBefore();
        // A context that a killed daemon left in use may still be needed by a signal handler: then the area has to stay.
        if (dirty == 0)
        {
            before.AssertNothingLeft(null);
        }

        Assert.DoesNotContain(
            File.ReadLines($"/proc/{victim.Pid}/smaps").Where(line => line.StartsWith("VmFlags:", StringComparison.Ordinal)),
            line => line.Split(' ').Intersect(["um", "uw", "ui"]).Any());
        (VictimReport report, int exitCode) = victim.Quit();
        output.WriteLine(report.ToString());
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    /// <summary>Something that takes a while; the answer never comes.</summary>
    private static void Work(LiveDaemon daemon, int kill) =>
        daemon.AskAndForget(HttpMethod.Post, kill % 4 == 3 ? "/v1/unmerge" : "/v1/merge", "{}");

    /// <summary>Slots in use once the borrowed thread has had time to find its way back.</summary>
    private static int AwaitSlots(ControlArea control)
    {
        Thread.Sleep(20);
        return Enumerable.Range(0, ControlLayout.SlotCount)
            .Count(slot => Marshal.ReadInt64(control.SlotAddress(slot) + SlotLayout.State) != 0);
    }

    private static ControlArea ControlAreaOf(int pid)
    {
        using ProcessIdentity process = ProcessIdentity.Open(pid);
        int number = Adoption.FindControl(process.Proc) ?? throw new InvalidOperationException("no control area");
        return ControlArea.Adopt(process.TakeDescriptor(number)) ?? throw new InvalidOperationException("not ours");
    }
}
