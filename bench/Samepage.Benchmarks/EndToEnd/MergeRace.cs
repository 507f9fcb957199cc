namespace Samepage.Benchmarks.EndToEnd;

/// <summary>
/// (d), (e), (f): the same memory is merged by both in turn, each time in new processes. Ours counts from the merge
/// command to its end, ksmd from its start until it saves 95 % of what it saves in the end.
/// </summary>
internal static class MergeRace
{
    private const double Share = 0.95;

    /// <summary>What somebody needed.</summary>
    private sealed record Outcome(double Wall, double Cpu, double Saved);

    /// <summary>(e) Two processes with identical memory.</summary>
    public static void Identical(Setting setting) =>
        OfPairs(setting, "e identical", "same", setting.Smoke ? 32 : 512, bar: 4);

    /// <summary>(f) Equal pages that lie alone among unique ones. Each takes two more mappings in ours, so their number
    /// stays below the kernel's limit of mappings.</summary>
    public static void Lone(Setting setting) =>
        OfPairs(setting, "f lone", $"lone:{(setting.Smoke ? 1000 : 20_000)}", setting.Smoke ? 16 : 240, bar: 1);

    /// <summary>(d) Virtual machines nobody prepared.</summary>
    public static void Guests(Setting setting)
    {
        const string part = "d guests";
        var count = setting.Smoke ? 1 : 3;
        var mebibytes = setting.Smoke ? 96 : 256;
        if (setting.Smoke && Guest.Unavailable() is { } missing)
        {
            Console.WriteLine($"{part}: left out, {missing}");
            return;
        }

        var outcomes = new Dictionary<string, Outcome>();
        foreach (var (smartScan, name) in setting.KsmdWays)
        {
            var guests = Guest.Boot(setting.Folder, count, mebibytes);
            outcomes[name] = Add(setting, part, name, OfKsmd(setting, smartScan, () => guests.Sum(guest => guest.Pss)));
            guests.ForEach(guest => guest.Dispose());
        }

        using var daemon = Daemon.Start(setting.Folder);
        var ours = Guest.Boot(setting.Folder, count, mebibytes);
        var outcome = OfDaemon(
            setting, part, daemon, [.. ours.Select(guest => guest.Pid)], () => ours.Sum(guest => guest.Pss));
        Add(setting, part, "samepage", outcome);
        ours.ForEach(guest => guest.Check());
        Footprint.AddStatus(setting, part, daemon);
        ours.ForEach(guest => guest.Dispose());
        foreach (var (name, ksmd) in outcomes)
        {
            setting.Report.AddRatio(part, $"wall time : {name}", ksmd.Wall / outcome.Wall, 3);
            setting.Report.AddRatio(part, $"CPU : {name}", ksmd.Cpu / outcome.Cpu, 4);
            setting.Report.AddRatio(part, $"saving : {name}", outcome.Saved / ksmd.Saved, 1);
        }
    }

    private static void OfPairs(Setting setting, string part, string kind, int mebibytes, double bar)
    {
        var outcomes = new Dictionary<string, Outcome>();
        foreach (var (smartScan, name) in setting.KsmdWays)
        {
            var pair = MemoryProcess.StartPair(setting.Folder, mebibytes, kind, mergeable: true);
            outcomes[name] = Add(setting, part, name, OfKsmd(setting, smartScan, () => Pss(pair)));
            Array.ForEach(pair, memory => memory.Dispose());
        }

        using var daemon = Daemon.Start(setting.Folder);
        var ours = MemoryProcess.StartPair(setting.Folder, mebibytes, kind, mergeable: false);
        var outcome = OfDaemon(setting, part, daemon, [.. ours.Select(memory => memory.Pid)], () => Pss(ours));
        Add(setting, part, "samepage", outcome);
        Array.ForEach(ours, memory => memory.Check());
        Footprint.AddStatus(setting, part, daemon);
        Array.ForEach(ours, memory => memory.Dispose());
        foreach (var (name, ksmd) in outcomes)
        {
            setting.Report.AddRatio(part, $"wall time : {name}", ksmd.Wall / outcome.Wall, bar);
            setting.Report.AddRatio(part, $"CPU : {name}", ksmd.Cpu / outcome.Cpu, bar);
            setting.Report.AddRatio(part, $"saving : {name}", outcome.Saved / ksmd.Saved, null);
        }
    }

    private static long Pss(MemoryProcess[] pair) => pair.Sum(memory => ProcessFigures.Pss(memory.Pid));

    private static Outcome OfKsmd(Setting setting, bool smartScan, Func<long> pss)
    {
        var before = pss();
        setting.Ksm!.Start(smartScan);
        var samples = setting.Ksm.WatchUntilConverged();
        Ksm.Pause();
        var saved = before - pss();
        Ksm.Stop();
        var final = samples.Max(sample => sample.Sharing);
        var done = samples.First(sample => sample.Sharing >= Share * final);
        return new Outcome(done.Seconds, done.Cpu, saved);
    }

    private static Outcome OfDaemon(Setting setting, string part, Daemon daemon, int[] pids, Func<long> pss)
    {
        var attach = daemon.CpuSeconds;
        daemon.Attach(pids);
        setting.Report.Add(part, "attaching", "samepage", daemon.CpuSeconds - attach, "CPU s");
        var before = pss();
        var ownBefore = ProcessFigures.Pss(daemon.Pid);
        var figures = daemon.Merge(pids);
        var saved = before - pss();
        setting.Report.Add(part, "merge itself", "samepage", figures.Engine, "s");
        setting.Report.Add(part, "of the CPU: daemon and keeper", "samepage", figures.DaemonCpu, "CPU s");
        setting.Report.Add(part, "of the CPU: in the targets", "samepage", figures.TargetCpu, "CPU s");
        setting.Report.Add(part, "saving as the daemon counts", "samepage", figures.Saved / 1e6, "MB");
        var grown = ProcessFigures.Pss(daemon.Pid) - ownBefore;
        setting.Report.Add(part, "daemon's PSS grew by", "samepage", grown / 1e6, "MB");
        return new Outcome(figures.Wall, figures.Cpu, saved);
    }

    private static Outcome Add(Setting setting, string part, string who, Outcome outcome)
    {
        setting.Report.Add(part, "wall time", who, outcome.Wall, "s");
        setting.Report.Add(part, "CPU", who, outcome.Cpu, "CPU s");
        setting.Report.Add(part, "saving by PSS", who, outcome.Saved / 1e6, "MB");
        return outcome;
    }
}
