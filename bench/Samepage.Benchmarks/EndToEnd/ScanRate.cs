namespace Samepage.Benchmarks.EndToEnd;

/// <summary>
/// (c) Pages scanned per CPU second where nothing equals anything: what merging costs those who have nothing to merge.
/// Passes of both over the same memory: the first, one over memory that was rewritten in between, and, for ksmd, passes
/// over memory that stood still (ours does not read that again: part g).
/// </summary>
internal static class ScanRate
{
    private const string Part = "c scan";

    /// <summary>Measures.</summary>
    public static void Run(Setting setting)
    {
        var mebibytes = setting.Smoke ? 64 : 512;
        var ksmd = new Dictionary<string, double>();
        foreach (var (smartScan, name) in setting.KsmdWays)
        {
            ksmd = OfKsmd(setting, mebibytes, smartScan, name, ksmd);
        }

        var ours = Ours(setting, mebibytes);
        foreach (var (what, rate) in ours)
        {
            setting.Report.Add(Part, what, "samepage", rate, "pages/CPU s");
        }

        if (ksmd.Count > 0)
        {
            // One pass of ours finds what is equal; ksmd needs two: one for the checksum and one for the trees.
            var (first, mean) = (ksmd["first pass"], ksmd["mean"]);
            var (cold, warm) = (ours["first pass"], ours["first pass, daemon warmed up"]);
            var (rewritten, again) = (ksmd["pass over rewritten memory"], ours["pass over rewritten memory"]);
            setting.Report.AddRatio(Part, "first pass : mean of ksmd's first four", cold / mean, 8);
            setting.Report.AddRatio(Part, "first pass, warmed up : the same", warm / mean, 8);
            setting.Report.AddRatio(Part, "first pass : ksmd's first (checksums only)", cold / first, null);
            setting.Report.AddRatio(Part, "rewritten memory : ksmd's (checksums only)", again / rewritten, 8);
        }
    }

    private static Dictionary<string, double> OfKsmd(
        Setting setting, int mebibytes, bool smartScan, string name, Dictionary<string, double> before)
    {
        using var memory = MemoryProcess.Start(setting.Folder, mebibytes, "unique", 0, mergeable: true);
        memory.WaitUntilReady();
        var ksm = setting.Ksm!;
        var rates = new Dictionary<string, double>();
        ksm.Start(smartScan);
        var first = ksm.WaitForScans(1);
        var fourth = ksm.WaitForScans(4);
        rates["first pass"] = first.Scanned / first.Cpu;
        rates["mean"] = fourth.Scanned / fourth.Cpu;
        rates["passes two to four"] = (fourth.Scanned - first.Scanned) / (fourth.Cpu - first.Cpu);
        if (!smartScan)
        {
            // Whoever has smart_scan leaves most of these pages out: there would be nothing to compare.
            Ksm.Pause();
            memory.Rewrite();
            var rewritten = ksm.Look();
            Ksm.Continue();
            var again = ksm.WaitForScans(rewritten.Scans + 1);
            rates["pass over rewritten memory"] = (again.Scanned - rewritten.Scanned) / (again.Cpu - rewritten.Cpu);
        }

        Ksm.Stop();
        foreach (var (what, rate) in rates)
        {
            setting.Report.Add(Part, what == "mean" ? "mean of first four passes" : what, name, rate, "pages/CPU s");
        }

        // Ratios are to ksmd without smart_scan: with it, pages it leaves out are not scanned.
        return before.Count > 0 ? before : rates;
    }

    private static Dictionary<string, double> Ours(Setting setting, int mebibytes)
    {
        using var daemon = Daemon.Start(setting.Folder);
        using var memory = MemoryProcess.Start(setting.Folder, mebibytes, "unique", 0, mergeable: false);
        memory.WaitUntilReady();
        var attach = daemon.CpuSeconds;
        daemon.Attach([memory.Pid]);
        setting.Report.Add(Part, "attaching", "samepage", daemon.CpuSeconds - attach, "CPU s");
        var rates = new Dictionary<string, double>();
        foreach (var what in new[] { "first pass", "pass over rewritten memory", "the same again", "and again" })
        {
            if (rates.Count > 0)
            {
                memory.Rewrite();
            }

            var figures = daemon.Merge([memory.Pid]);
            rates[what] = memory.Pages / figures.Cpu;
            setting.Report.Add(Part, what, "samepage", figures.Cpu, "CPU s");
        }

        // The first pass again, by a daemon whose code is compiled by now.
        using var other = MemoryProcess.Start(setting.Folder, mebibytes, "unique", 1, mergeable: false);
        other.WaitUntilReady();
        daemon.Attach([other.Pid]);
        var warm = daemon.Merge([other.Pid]);
        rates["first pass, daemon warmed up"] = other.Pages / warm.Cpu;
        setting.Report.Add(Part, "first pass, daemon warmed up", "samepage", warm.Cpu, "CPU s");
        memory.Check();
        Footprint.AddStatus(setting, Part, daemon);
        return rates;
    }
}
