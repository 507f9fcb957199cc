using System.Diagnostics;
using System.Globalization;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>(i) The admin files: reading all of them, as sysfs's, and run=2 over 100,000 merged pages.</summary>
internal static class AdminFileCosts
{
    private const string Part = "i adminfiles";
    private const string Kernels = "/sys/kernel/mm/ksm";

    /// <summary>Measures.</summary>
    public static void Run(Setting setting)
    {
        using var daemon = Daemon.Start(setting.Folder);
        var folder = Path.Combine(setting.Folder, "adminfiles");
        Directory.CreateDirectory(folder);
        daemon.Ask("mount", folder);
        // A daemon that ends unmounts what it has mounted: nothing to clean up on other ways out.
        try
        {
            var rounds = setting.Smoke ? 20 : 500;
            Reading(setting, folder, "samepage", rounds);
            if (Directory.Exists(Kernels))
            {
                Reading(setting, Kernels, "sysfs", rounds);
            }

            Unmerging(setting, daemon, folder);
        }
        finally
        {
            daemon.Ask("unmount", folder, "--lazy");
        }
    }

    private static void Reading(Setting setting, string folder, string who, int rounds)
    {
        string[] files = Directory.GetFiles(folder);
        var times = new double[rounds];
        for (var round = 0; round < rounds; round++)
        {
            var start = Stopwatch.GetTimestamp();
            foreach (var file in files)
            {
                _ = File.ReadAllText(file);
            }

            times[round] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }

        Array.Sort(times);
        setting.Report.Add(Part, $"reading all {files.Length} files, median", who, times[rounds / 2], "ms");
        setting.Report.Add(Part, $"reading all {files.Length} files, 99 %", who, times[rounds * 99 / 100], "ms");
    }

    private static void Unmerging(Setting setting, Daemon daemon, string folder)
    {
        // Two processes with the same 204 MiB: more than 100,000 mappings of merged pages.
        var mebibytes = setting.Smoke ? 16 : 204;
        var pair = MemoryProcess.StartPair(setting.Folder, mebibytes, "same", mergeable: false);
        int[] pids = [.. pair.Select(memory => memory.Pid)];
        daemon.Attach(pids);
        daemon.Merge(pids);
        var pages = Number(folder, "pages_shared") + Number(folder, "pages_sharing");
        var start = Stopwatch.GetTimestamp();
        File.WriteAllText(Path.Combine(folder, "run"), "2\n");
        var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        var left = Number(folder, "pages_shared") + Number(folder, "pages_sharing");
        setting.Report.Add(Part, "merged pages before run=2", "samepage", pages, "pages");
        setting.Report.Add(Part, "merged pages after it", "samepage", left, "pages");
        setting.Report.Add(Part, "write of run=2", "samepage", seconds, "s");
        Array.ForEach(pair, memory => memory.Check());
        Array.ForEach(pair, memory => memory.Dispose());
    }

    private static long Number(string folder, string file) =>
        long.Parse(File.ReadAllText(Path.Combine(folder, file)), CultureInfo.InvariantCulture);
}
