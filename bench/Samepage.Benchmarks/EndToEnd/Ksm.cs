using System.Diagnostics;
using System.Globalization;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>One look at ksmd while it works.</summary>
/// <param name="Seconds">Since it was started.</param>
/// <param name="Cpu">CPU seconds since then.</param>
/// <param name="Scans">Passes finished since then.</param>
/// <param name="Scanned">Pages scanned since then.</param>
/// <param name="Sharing">pages_sharing now.</param>
internal readonly record struct KsmSample(double Seconds, double Cpu, long Scans, long Scanned, long Sharing);

/// <summary>
/// The kernel's own merger at full throttle. All its settings are read before and put back afterwards, what it merged
/// is un-merged first, however the run ends.
/// </summary>
internal sealed class Ksm
{
    private const string Folder = "/sys/kernel/mm/ksm/";

    // In the order of writing; run comes last. What stays as found is not in the list.
    private static readonly (string Name, string Value)[] FullThrottle =
    [
        ("advisor_mode", "none"), ("sleep_millisecs", "0"), ("pages_to_scan", "100000000"), ("use_zero_pages", "0"),
    ];

    private readonly Dictionary<string, string> _found = [];
    private readonly int _ksmd;
    private (long Ticks, double Cpu, long Scans, long Scanned) _start;

    private Ksm(int ksmd) => _ksmd = ksmd;

    /// <summary>Takes KSM over; null where there is none.</summary>
    public static Ksm? TryTake()
    {
        if (!Directory.Exists(Folder) || ProcessFigures.Ksmd() is not { } ksmd)
        {
            return null;
        }

        var ksm = new Ksm(ksmd);
        string[] others = ["smart_scan", "run"];
        foreach (var name in FullThrottle.Select(setting => setting.Name).Concat(others))
        {
            if (File.Exists(Folder + name))
            {
                ksm._found[name] = Chosen(File.ReadAllText(Folder + name).Trim());
            }
        }

        if (ksm._found["run"] != "0")
        {
            throw new InvalidOperationException(
                "KSM is running (/sys/kernel/mm/ksm/run): its work cannot be told from the benchmark's; stop it first");
        }

        CleanUp.Add(ksm.PutBack);
        return ksm;
    }

    /// <summary>True when ksmd leaves out pages that did not merge before, where the kernel can.</summary>
    public static bool HasSmartScan => File.Exists(Folder + "smart_scan");

    /// <summary>CPU seconds ksmd has used.</summary>
    public double CpuSeconds
    {
        get
        {
            // Nanoseconds, the same time as utime and stime of /proc/PID/stat, which have 10 ms.
            var text = File.ReadAllText($"/proc/{_ksmd}/schedstat");
            return long.Parse(text.Split(' ')[0], CultureInfo.InvariantCulture) / 1e9;
        }
    }

    /// <summary>Lets it go.</summary>
    public void Start(bool smartScan)
    {
        foreach (var (name, value) in FullThrottle.Where(setting => _found.ContainsKey(setting.Name)))
        {
            Write(name, value);
        }

        if (HasSmartScan)
        {
            Write("smart_scan", smartScan ? "1" : "0");
        }

        _start = (Stopwatch.GetTimestamp(), CpuSeconds, Read("full_scans"), Read("pages_scanned"));
        Write("run", "1");
    }

    /// <summary>Lets it go on after <see cref="Pause"/>; figures go on counting from the start.</summary>
    public static void Continue() => Write("run", "1");

    /// <summary>Stops it at the end of the pass it is in (writing to run waits for that).</summary>
    public static void Pause() => Write("run", "0");

    /// <summary>Un-merges everything and stops it.</summary>
    public static void Stop()
    {
        Write("run", "2");
        Write("run", "0");
    }

    /// <summary>Where it is.</summary>
    public KsmSample Look() => new(
        Stopwatch.GetElapsedTime(_start.Ticks).TotalSeconds,
        CpuSeconds - _start.Cpu,
        Read("full_scans") - _start.Scans,
        Read("pages_scanned") - _start.Scanned,
        Read("pages_sharing"));

    /// <summary>Waits for the end of passes.</summary>
    /// <param name="scans">Number of passes since the start.</param>
    public KsmSample WaitForScans(long scans)
    {
        for (var waited = Stopwatch.StartNew(); waited.Elapsed < TimeSpan.FromMinutes(3); Thread.Sleep(1))
        {
            if (Read("full_scans") - _start.Scans >= scans)
            {
                return Look();
            }
        }

        throw new TimeoutException("ksmd did not finish its passes within three minutes");
    }

    /// <summary>Watches until it finds nothing more: less than 0.5 % in three passes, after four.</summary>
    public List<KsmSample> WatchUntilConverged()
    {
        var samples = new List<KsmSample> { Look() };
        var atScan = new List<long> { samples[0].Sharing };
        for (var waited = Stopwatch.StartNew(); waited.Elapsed < TimeSpan.FromMinutes(3); Thread.Sleep(2))
        {
            var sample = Look();
            samples.Add(sample);
            while (atScan.Count <= sample.Scans)
            {
                atScan.Add(sample.Sharing);
            }

            if (sample.Scans >= 6 && sample.Sharing - atScan[(int)sample.Scans - 3] <= sample.Sharing / 200)
            {
                return samples;
            }
        }

        return samples;
    }

    private void PutBack()
    {
        Stop();
        foreach (var (name, value) in _found)
        {
            Write(name, value);
        }
    }

    private static string Chosen(string text)
    {
        var open = text.IndexOf('[', StringComparison.Ordinal);
        return open < 0 ? text : text[(open + 1)..text.IndexOf(']', StringComparison.Ordinal)];
    }

    private static long Read(string name) => long.Parse(File.ReadAllText(Folder + name), CultureInfo.InvariantCulture);

    private static void Write(string name, string value) => File.WriteAllText(Folder + name, value);
}
