using System.Diagnostics;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Interception;

/// <summary>
/// Goal: un-merging from outside, while the program's threads write, loses no write. Method: a program that checks its
/// own writes is merged and un-merged again and again. That the check sees what it should is shown by the way one would
/// first think of: reading a page and writing it back.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class BreakSharingTests(ITestOutputHelper output)
{
    private static readonly PageRange Everything = new(0, 1UL << 35);
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    [Fact]
    public void Breaking_from_outside_loses_no_write()
    {
        (long broken, VictimReport report) = MergeAndBreak(
            (target, pages) => target.BreakSharing(pages), (watch, _) => watch.Elapsed < LiveHarness.Time(2));
        Assert.True(broken > 1000, $"only {broken} pages were un-merged");
        Assert.True(report.Errors == 0, report.ToString());
    }

    [Fact]
    public void Writing_back_what_was_read_loses_writes_and_is_noticed()
    {
        (long broken, VictimReport report) = MergeAndBreak(
            WriteBack, (watch, victim) => watch.Elapsed < Limit && victim.Report().Errors == 0);
        Assert.True(report.Errors > 0, $"{broken} pages were written back, and nothing was noticed");
    }

    private (long Broken, VictimReport Report) MergeAndBreak(
        Action<LiveTarget, PageRange> breakSharing, Func<Stopwatch, Victim, bool> goesOn)
    {
        using var harness = new LiveHarness();
        using var victim = Victim.Start("--mode", "fill,writers", "--pages", "1024", "--threads", "4");
        RegisteredTarget registered = harness.Attach(victim);
        var target = (LiveTarget)registered.Target;
        long broken = 0;
        for (var watch = Stopwatch.StartNew(); goesOn(watch, victim);)
        {
            harness.Merge();
            // As when memory is un-registered: the engine lets go of it first.
            harness.Engine.SetRanges(registered, []);
            broken += CountShared(target);
            breakSharing(target, Everything);
            target.ListAgain(Everything);
            harness.Engine.SetRanges(registered, null);
        }

        VictimReport report = victim.Report();
        output.WriteLine($"{broken} pages un-merged; {report}");
        return (broken, report);
    }

    private static long CountShared(LiveTarget target) => Shared(target).Sum(run => run.Count);

    private static List<SharedRun> Shared(LiveTarget target)
    {
        var runs = new SharedRun[512];
        var found = new List<SharedRun>();
        for (ulong cursor = 0; cursor < Everything.End;)
        {
            int count = target.ScanShared(ref cursor, Everything.End, runs);
            found.AddRange(runs.AsSpan(0, count));
        }

        return found;
    }

    private static void WriteBack(LiveTarget target, PageRange pages)
    {
        var page = new byte[PageSize.Bytes];
        using var memory = new FileStream(
            $"/proc/{target.Pid}/mem", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        foreach (SharedRun run in Shared(target))
        {
            for (ulong i = 0; i < run.Count; i++)
            {
                long at = (long)((run.Start + i) << PageSize.Shift);
                memory.Seek(at, SeekOrigin.Begin);
                memory.ReadExactly(page);
                memory.Seek(at, SeekOrigin.Begin);
                memory.Write(page);
            }
        }
    }
}
