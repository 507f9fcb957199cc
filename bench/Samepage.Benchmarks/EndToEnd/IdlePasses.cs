namespace Samepage.Benchmarks.EndToEnd;

/// <summary>(g) CPU of a pass over memory nobody writes, after all has been merged; half of it was equal.</summary>
internal static class IdlePasses
{
    private const string Part = "g idle";

    /// <summary>Measures.</summary>
    public static void Run(Setting setting)
    {
        var mebibytes = setting.Smoke ? 64 : 512;
        var ksmd = new Dictionary<string, double>();
        foreach (var (smartScan, name) in setting.KsmdWays)
        {
            ksmd[name] = OfKsmd(setting, mebibytes, smartScan);
            setting.Report.Add(Part, "CPU of a pass", name, ksmd[name] * 1e6, "us");
        }

        var ours = Ours(setting, mebibytes);
        setting.Report.Add(Part, "CPU of a pass", "samepage", ours * 1e6, "us");
        foreach (var (name, cpu) in ksmd)
        {
            setting.Report.AddRatio(Part, $"CPU of a pass : {name}", cpu / ours, 500);
        }
    }

    private static double OfKsmd(Setting setting, int mebibytes, bool smartScan)
    {
        var pair = MemoryProcess.StartPair(setting.Folder, mebibytes, "half", mergeable: true);
        var ksm = setting.Ksm!;
        ksm.Start(smartScan);

        // smart_scan leaves a page out for up to eight passes, the more often it did not merge.
        var begin = ksm.WaitForScans(smartScan ? 24 : 5);
        var end = ksm.WaitForScans(begin.Scans + 9);
        Ksm.Stop();
        Array.ForEach(pair, memory => memory.Dispose());
        return (end.Cpu - begin.Cpu) / (end.Scans - begin.Scans);
    }

    private static double Ours(Setting setting, int mebibytes)
    {
        using var daemon = Daemon.Start(setting.Folder);
        var pair = MemoryProcess.StartPair(setting.Folder, mebibytes, "half", mergeable: false);
        int[] pids = [.. pair.Select(memory => memory.Pid)];
        daemon.Attach(pids);
        daemon.Merge(pids);

        // As fast as it can, so that a pass is not part of the noise; paced, it does the same passes less often.
        daemon.Ask("set", "pages_to_scan=100000000", "sleep_millisecs=0", "run=1");
        Thread.Sleep(setting.Smoke ? 300 : 2000);
        var scans = FullScans(daemon);
        var cpu = daemon.CpuSeconds + ProcessFigures.CpuSeconds(pids);
        Thread.Sleep(setting.Smoke ? 500 : 4000);
        cpu = daemon.CpuSeconds + ProcessFigures.CpuSeconds(pids) - cpu;
        scans = FullScans(daemon) - scans;
        setting.Report.Add(Part, "passes measured", "samepage", scans, "");
        Array.ForEach(pair, memory => memory.Check());
        daemon.Ask("set", "run=0");
        Array.ForEach(pair, memory => memory.Dispose());
        return scans == 0 ? double.PositiveInfinity : cpu / scans;
    }

    private static long FullScans(Daemon daemon) => daemon.Status().GetProperty("full_scans").GetInt64();
}
