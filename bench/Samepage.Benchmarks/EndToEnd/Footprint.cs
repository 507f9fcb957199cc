using System.Diagnostics;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>What the daemon needs for itself.</summary>
internal static class Footprint
{
    /// <summary>Memory of a daemon without targets, time of <c>samepage status</c>.</summary>
    public static void Run(Setting setting)
    {
        const string part = "footprint";
        using var daemon = Daemon.Start(setting.Folder);
        AddMemory(setting, daemon, "daemon without targets");
        var times = new double[setting.Smoke ? 3 : 15];
        for (var i = 0; i < times.Length; i++)
        {
            var start = Stopwatch.GetTimestamp();
            daemon.Ask("status");
            times[i] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }

        Array.Sort(times);
        setting.Report.Add(part, "status, start to end, median", "samepage", times[times.Length / 2], "ms");
        setting.Report.Add(part, "status, start to end, fastest", "samepage", times[0], "ms");
        AddMemory(setting, daemon, "daemon after these requests");
    }

    private static void AddMemory(Setting setting, Daemon daemon, string what)
    {
        setting.Report.Add("footprint", $"{what}, RSS", "samepage", ProcessFigures.Rss(daemon.Pid) / 1e6, "MB");
        setting.Report.Add("footprint", $"{what}, PSS", "samepage", ProcessFigures.Pss(daemon.Pid) / 1e6, "MB");
    }

    /// <summary>Adds how long batches stopped targets, and metadata per page, from the daemon's status.</summary>
    public static void AddStatus(Setting setting, string part, Daemon daemon)
    {
        var status = daemon.Status();
        var stops = status.GetProperty("stop_times");
        setting.Report.Add(part, "batches", "samepage", stops.GetProperty("count").GetInt64(), "");
        foreach (var (what, name) in new[] { ("p50", "p50"), ("p99", "p99"), ("longest", "max") })
        {
            var microseconds = stops.GetProperty(name + "_microseconds").GetDouble();
            setting.Report.Add(part, $"stop of a target, {what}", "samepage", microseconds, "us");
        }

        var metadata = status.GetProperty("metadata_bytes").GetDouble();
        metadata /= status.GetProperty("registered_pages").GetDouble();
        setting.Report.Add(part, "metadata per registered page", "samepage", metadata, "bytes");
    }
}
