namespace Samepage.Benchmarks.EndToEnd;

/// <summary>
/// (h) How long a program's own accesses to its own memory take while that memory is being merged: an access is due
/// every 10 us, so that being stopped counts for all that were due meanwhile. Half of its memory equals another's.
/// </summary>
internal static class CoRunner
{
    private const string Part = "h latency";

    /// <summary>Measures.</summary>
    public static void Run(Setting setting)
    {
        var mebibytes = setting.Smoke ? 32 : 256;
        var seconds = setting.Smoke ? 0.5 : 10;
        var none = MemoryProcess.StartPair(setting.Folder, mebibytes, "half", mergeable: false);
        Add(setting, "no merging", none[0].Latency(seconds));
        Array.ForEach(none, memory => memory.Dispose());
        if (setting.Ksm is { } ksm)
        {
            var pair = MemoryProcess.StartPair(setting.Folder, mebibytes, "half", mergeable: true);
            ksm.Start(smartScan: true);
            Add(setting, "ksmd", pair[0].Latency(seconds));
            Ksm.Stop();
            Array.ForEach(pair, memory => memory.Dispose());
        }

        OfDaemon(setting, mebibytes, seconds);
    }

    private static void OfDaemon(Setting setting, int mebibytes, double seconds)
    {
        using var daemon = Daemon.Start(setting.Folder);
        var pair = MemoryProcess.StartPair(setting.Folder, mebibytes, "half", mergeable: false);
        daemon.Ask("set", "run=1");
        daemon.Attach(pair.Select(memory => memory.Pid));
        Add(setting, "samepage, paced", pair[0].Latency(seconds));

        // As ksmd is here: no sleep between passes, no limit of CPU.
        daemon.Ask("set", "pages_to_scan=100000000", "sleep_millisecs=0");
        Add(setting, "samepage", pair[0].Latency(seconds));
        daemon.Ask("set", "run=0");
        Array.ForEach(pair, memory => memory.Check());
        Footprint.AddStatus(setting, Part, daemon);
        Array.ForEach(pair, memory => memory.Dispose());
    }

    private static void Add(Setting setting, string who, long[] figures)
    {
        var names = new[] { "accesses", "p50", "p99", "p99.9", "longest" };
        setting.Report.Add(Part, names[0], who, figures[0], "");
        for (var i = 1; i < names.Length; i++)
        {
            setting.Report.Add(Part, names[i], who, figures[i] / 1e3, "us");
        }
    }
}
