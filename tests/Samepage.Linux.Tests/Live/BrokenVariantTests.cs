using System.Runtime.InteropServices;
using Samepage.Linux.Program;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// The detectors of the other tests notice what they are there for: each test leaves out one part of the protocol and
/// expects the program to complain.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class BrokenVariantTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Without_the_comparison_wrong_store_bytes_get_into_a_program(bool compares)
    {
        using var harness = new LiveHarness();
        using var victim = Victim.Start("--mode", "fill", "--pages", "64");
        RegisteredTarget registered = harness.Attach(victim, victim.Regions);
        var target = (LiveTarget)registered.Target;
        if (!compares)
        {
            ReplaceCompare(target);
        }

        // Page 1 is no page of zeros (Content); one byte of it is wrong in the store.
        ulong page = victim.Regions[0].Start + 1;
        byte[] bytes = new byte[PageSize.Bytes];
        Assert.Equal(1, target.Read([new PageRange(page, page + 1)], bytes));
        bytes[777] ^= 1;
        IPageStore store = harness.Machine.OpenStore(target.Domain);
        store.Write(0, bytes);
        MergePlan[] plans = [new MergePlan { Start = page, Count = 1, Slot = 0, Kind = PlanKind.Share }];
        target.Execute(store, plans);
        victim.Send("verify");
        VictimReport report = victim.Report();
        output.WriteLine($"compares={compares}: {plans[0].Outcome}; {report}");
        Assert.Equal(compares ? PlanOutcome.ContentChanged : PlanOutcome.Done, plans[0].Outcome);
        (VictimReport last, _) = victim.Quit();
        Assert.Equal(compares ? 0 : 1, Math.Min(last.Errors, 1));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Pages_that_only_look_alike_to_a_sample_keep_their_bytes(bool compares)
    {
        const int pages = 1000;
        using var harness = new LiveHarness();
        using LivePuppet one = LivePuppet.Start();
        using LivePuppet two = LivePuppet.Start();
        // Every page has a number where its sample looks; those of the second process have another one elsewhere, too.
        int seen = PageSampler.Create(LiveHarness.Seed).Offsets[0];
        int unseen = Enumerable.Range(0, 64).Select(line => line * PageSampler.LineBytes)
            .First(offset => !PageSampler.Create(LiveHarness.Seed).Offsets.Contains(offset));
        ulong first = one.Map(pages), second = two.Map(pages);
        one.Do($"number {first:x} {pages} {seen:x} 1");
        two.Do($"number {second:x} {pages} {seen:x} 1");
        two.Do($"number {second:x} {pages} {unseen:x} 100000");
        harness.Attach(one.Pid, [Puppet.Pages(first, pages)]);
        RegisteredTarget last = harness.Attach(two.Pid, [Puppet.Pages(second, pages)]);
        if (!compares)
        {
            ReplaceCompare((LiveTarget)last.Target);
        }

        MergeReport report = harness.Merge();
        ulong wrong = two.Do($"check {second:x} {pages} {unseen:x} 100000");
        output.WriteLine($"compares={compares}: {report.PagesMerged} merged, {wrong} wrong");
        Assert.Equal(compares, wrong == 0);
        Assert.Equal(0ul, one.Do($"check {first:x} {pages} {seen:x} 1"));
        // Pages were taken for twins, else this says nothing.
        Assert.True(report.PagesMerged > 100, $"{report.PagesMerged} merged");
        harness.DetachAll();
    }

    [Fact]
    public void With_siblings_running_on_their_mappings_are_overwritten()
    {
        // The merge may be caught where it cannot go on, because a sibling has filled the place pages have to go back to,
        // before anything was overwritten: then another program is tried.
        const int programs = 5;
        long errors = 0;
        for (int program = 0; program < programs && errors == 0; program++)
        {
            errors = ErrorsWithSiblingsRunningOn();
        }

        Assert.True(errors > 0, "threads ran on during the merge and nobody noticed");
    }

    private long ErrorsWithSiblingsRunningOn()
    {
        using var harness = new LiveHarness(options => options with { StopsOneThreadOnly = true });
        using var victim = CVictim.Start("siblings", ["--threads", "4"]);
        harness.Attach(victim, victim.Regions);
        long rounds = 0;
        var loop = new Thread(() => harness.MergeAndUnmergeUntil(() => Interlocked.Increment(ref rounds) < 0 || !victim.IsAlive));
        loop.Start();
        long errors = 0;
        var watch = System.Diagnostics.Stopwatch.StartNew();
        while (errors == 0 && watch.Elapsed < TimeSpan.FromSeconds(10))
        {
            Thread.Sleep(100);
            errors = victim.Report().Errors;
        }

        DetachedProcess.Kill(victim.Pid);
        loop.Join();
        output.WriteLine($"{errors} errors after {watch.Elapsed.TotalSeconds:0.0} s and {Interlocked.Read(ref rounds)} rounds");
        return errors;
    }

    [Fact]
    public void A_keeper_that_answers_with_store_bytes_is_noticed()
    {
        using var harness = new LiveHarness(null, "--answer-stale");
        using var victim = CVictim.Start("dontneed", ["--threads", "2"]);
        harness.Attach(victim, victim.Regions);
        long errors = 0;
        var watch = System.Diagnostics.Stopwatch.StartNew();
        LoopCounts counts = harness.MergeAndUnmergeUntil(() =>
        {
            errors = victim.Report().Errors;
            return errors > 0 || watch.Elapsed > TimeSpan.FromSeconds(20);
        });
        output.WriteLine($"{errors} errors after {watch.Elapsed.TotalSeconds:0.0} s; {counts}");
        Assert.True(errors > 0, "stale bytes were mapped and nobody noticed");
    }

    /// <summary>In this target's copy of the program, the comparison finds everything equal.</summary>
    private static void ReplaceCompare(LiveTarget target)
    {
        byte[] allEqual = [0x4C, 0x89, 0xFB, 0xC3]; // mov rbx, r15; ret
        Marshal.Copy(
            allEqual, 0, target.Control.Address + ControlLayout.Code + MergeProgram.Current.CompareEntry, allEqual.Length);
    }
}
