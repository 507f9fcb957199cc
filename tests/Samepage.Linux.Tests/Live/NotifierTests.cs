using System.Globalization;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>Notifiers of live processes: told while the process stands still, and exactly.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class NotifierTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_replacement_is_told_while_no_thread_of_the_target_can_run(bool tellsAfterwards)
    {
        // Told afterwards, the same look at the threads must see some of them running: else it would prove nothing.
        using var harness = new LiveHarness(options => options with { NotifiesAfterwards = tellsAfterwards });
        using CVictim victim = CVictim.Start("writers", ["--threads", "4", "--pages", "2048"]);
        RegisteredTarget registered = harness.Attach(victim, victim.Regions);
        var target = (LiveTarget)registered.Target;
        var witness = new ThreadWitness(victim.Pid);
        target.Notifiers.Register(witness);
        for (int round = 0; round < 6 || (witness.Told == 0 && round < 60); round++)
        {
            harness.Merge();
            if (round % 2 == 1)
            {
                harness.Unmerge();
            }
        }

        output.WriteLine($"{witness.Told} spans told, threads not standing still: {witness.Running}, "
            + $"late: {target.LateNotifications}, longest stop {harness.Machine.StopTimes.MaxNanoseconds / 1000} us");
        Assert.True(witness.Told > 0, "nothing was merged");
        if (tellsAfterwards)
        {
            Assert.True(witness.Running > 0, "the look at the threads does not see running ones");
        }
        else
        {
            // The one late case is a pause of this process: counted by the target, and then it may have seen anything.
            Assert.True(witness.Running == 0 || target.LateNotifications > 0, $"{witness.Running} threads ran: {witness.Seen}");
        }

        victim.Send("verify");
        Assert.Equal(0, victim.Report().Errors);
        harness.Detach(registered);
        Assert.True(witness.IsReleased);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Who_begins_to_listen_in_the_middle_of_a_merge_misses_nothing(bool settles)
    {
        using var harness = new LiveHarness();
        using LivePuppet one = LivePuppet.Start();
        using LivePuppet two = LivePuppet.Start();
        (PageRange[] first, PageRange[] second) = (MapSpans(one), MapSpans(two));
        RegisteredTarget registered = harness.Attach(one.Pid, first);
        harness.Attach(two.Pid, second);
        bool missed = false;
        bool came = false;
        for (uint round = 1; round <= 20 && !came; round++)
        {
            Number(one, first, round);
            Number(two, second, round);
            var late = new Latecomer(harness.Engine, registered, settles);
            try
            {
                harness.Engine.Merge(null, late, CancellationToken.None);
                missed |= !late.KnowsAll();
            }
            catch (InvalidOperationException error)
            {
                output.WriteLine(error.Message);
                missed = true;
            }

            came = late.Came;
            late.Leave();
            harness.Unmerge();
        }

        Assert.True(came, "plans were never under way when it looked");
        Assert.Equal(settles, !missed);
    }

    private static PageRange[] MapSpans(LivePuppet puppet) =>
        [.. Enumerable.Range(0, 4).Select(_ => Puppet.Pages(puppet.Map(SpanPages), SpanPages)).OrderBy(span => span.Start)];

    private static void Number(LivePuppet puppet, PageRange[] spans, uint round)
    {
        // Where samples look, so that no two pages have the same.
        int offset = PageSampler.Create(LiveHarness.Seed).Offsets[0];
        for (int i = 0; i < spans.Length; i++)
        {
            puppet.Do($"number {spans[i].Start << PageSize.Shift:x} {SpanPages} {offset:x} {(round << 24) + (i * SpanPages):x}");
        }
    }

    private const int SpanPages = 16384;

    /// <summary>Begins to listen as soon as it sees plans of a target under way, and keeps account from there.</summary>
    private sealed class Latecomer(Engine engine, RegisteredTarget target, bool settles) : IProgress<EngineProgress>
    {
        private readonly SharedPageMap _map = new();
        private HashSet<ulong> _before = [];

        public bool Came { get; private set; }

        public void Report(EngineProgress value)
        {
            if (Came || !target.Target.IsUnderWay)
            {
                return;
            }

            if (settles)
            {
                engine.Settle(target);
            }

            Came = true;
            _before = Pages(target);
            target.Target.Notifiers!.Register(_map);
        }

        /// <summary>What was there when it came and what it was told since is what there is.</summary>
        public bool KnowsAll()
        {
            if (!Came)
            {
                return true;
            }

            _before.UnionWith(Runs(_map).Select(each => each.Page));
            return _before.SetEquals(Pages(target));
        }

        public void Leave()
        {
            if (Came)
            {
                target.Target.Notifiers!.Unregister(_map);
            }
        }

        private static HashSet<ulong> Pages(RegisteredTarget target) =>
            [.. Runs(target.SharedRuns()).Select(each => each.Page)];
    }

    [Fact]
    public void What_notifiers_were_told_is_what_the_page_tables_say_while_the_program_writes()
    {
        using var harness = new LiveHarness();
        using CVictim victim = CVictim.Start("writers", ["--threads", "2", "--pages", "4096"]);
        RegisteredTarget registered = harness.Attach(victim, victim.Regions);
        var map = new SharedPageMap();
        registered.Target.Notifiers!.Register(map);
        long shared = 0;
        for (int round = 0; round < 12; round++)
        {
            harness.Merge();
            Assert.Equal(Runs(registered.SharedRuns()), Runs(map));
            shared += map.Count;
            if (round % 4 == 3)
            {
                harness.Unmerge();
                Assert.Equal(0, map.Count);
            }
        }

        // Stopped, so that nothing changes any more: a pass tells of every write there was, and then all three agree.
        DetachedProcess.Run("kill", ["-STOP", victim.Pid.ToString(CultureInfo.InvariantCulture)]);
        harness.Merge();
        Assert.Equal(Truth(registered), Runs(map));
        output.WriteLine($"{shared} shared pages in 12 rounds; at rest {map.Count}");
        Assert.True(shared > 0, "nothing was merged");
        DetachedProcess.Run("kill", ["-CONT", victim.Pid.ToString(CultureInfo.InvariantCulture)]);
        Assert.Equal(0, victim.Report().Errors);
        harness.Detach(registered);
    }

    private static (ulong Page, uint Slot)[] Truth(RegisteredTarget target)
    {
        var all = new List<SharedRun>();
        var runs = new SharedRun[256];
        foreach (PageRange region in target.Target.Regions)
        {
            for (ulong cursor = region.Start; cursor < region.End;)
            {
                all.AddRange(runs.AsSpan(0, target.Target.ScanShared(ref cursor, region.End, runs)));
            }
        }

        return Runs(all);
    }

    private static (ulong Page, uint Slot)[] Runs(IEnumerable<SharedRun> runs) =>
        [.. runs.SelectMany(run => Enumerable.Range(0, (int)run.Count).Select(i => (run.Start + (uint)i, run.Slot + (uint)i)))];

    private static (ulong Page, uint Slot)[] Runs(SharedPageMap map) => Runs(map.Runs().Select(run => new SharedRun(
        run.Address >> PageSize.Shift, (uint)(run.Length >> PageSize.Shift), (uint)(run.StoreOffset >> PageSize.Shift))));

    /// <summary>Looks at all threads of a process whenever it is told something.</summary>
    private sealed class ThreadWitness(int pid) : IMmuNotifier
    {
        public int Told { get; private set; }

        public int Running { get; private set; }

        public string Seen { get; private set; } = "";

        public bool IsReleased { get; private set; }

        public void ChangePte(in PteChange change)
        {
            if (change.Kind is not (MmuEvent.Shared or MmuEvent.Zeroed))
            {
                return; // the kernel's own doing, or with the process running on
            }

            Told++;
            string states = States();
            // t: stopped by the tracer. One thread is borrowed: it waits in the program for us (S), or is about to (R).
            if (states.Count(state => state != 't') > 1)
            {
                Running++;
                Seen = states;
            }
        }

        public void InvalidatePage(ulong address)
        {
        }

        public void Release() => IsReleased = true;

        private string States() => string.Concat(Directory.EnumerateDirectories($"/proc/{pid}/task").Select(task =>
        {
            string stat = File.ReadAllText(task + "/stat");
            return stat[stat.LastIndexOf(')') + 2];
        }));
    }
}
