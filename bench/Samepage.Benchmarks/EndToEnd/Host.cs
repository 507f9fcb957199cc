using System.Globalization;
using System.Text.RegularExpressions;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>What the figures were measured on.</summary>
internal sealed partial record Host(
    string Processor,
    int Cpus,
    long MemoryMebibytes,
    string Kernel,
    string Runtime,
    string Commit,
    string Load,
    DateTime Date)
{
    /// <summary>Name of the folder for this processor's results.</summary>
    public string Folder => NotForNames().Replace(Processor, "-").Trim('-');

    /// <summary>Reads it.</summary>
    public static Host Read()
    {
        var fields = File.ReadLines("/proc/cpuinfo")
            .TakeWhile(line => line.Length > 0)
            .Select(line => line.Split(':', 2))
            .ToDictionary(pair => pair[0].Trim(), pair => pair.Length > 1 ? pair[1].Trim() : "");
        var kilobytes = File.ReadLines("/proc/meminfo").First()["MemTotal:".Length..]
            .Replace("kB", "", StringComparison.Ordinal);
        var name = fields.GetValueOrDefault("model name", "unknown processor");
        return new Host(
            $"{name} (model {fields.GetValueOrDefault("model", "?")})",
            Environment.ProcessorCount,
            long.Parse(kilobytes, CultureInfo.InvariantCulture) / 1024,
            File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
            Environment.Version.ToString(),
            Repository.Commit(),
            LoadAtStart,
            DateTime.UtcNow.Date);
    }

    /// <summary>Load average over a minute when the run began.</summary>
    public static string LoadAtStart { get; } = File.ReadAllText("/proc/loadavg").Split(' ')[0];

    [GeneratedRegex("[^A-Za-z0-9.]+")]
    private static partial Regex NotForNames();
}
