using System.Globalization;
using System.Runtime.InteropServices;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>CPU time and memory of other processes.</summary>
internal static class ProcessFigures
{
    /// <summary>CPU seconds a process has used, ended threads included, by its CPU clock (nanoseconds).</summary>
    public static double CpuSeconds(int pid)
    {
        // The kernel's encoding of another process's CPU clock (clock_getcpuclockid(3)).
        const int schedulerClock = 2;
        return GetTime((~pid << 3) | schedulerClock, out var time) == 0
            ? time.Seconds + (time.Nanoseconds / 1e9)
            : throw new IOException($"process {pid} is gone");
    }

    /// <summary>CPU seconds of several processes.</summary>
    public static double CpuSeconds(IEnumerable<int> pids) => pids.Sum(CpuSeconds);

    /// <summary>Proportional set size of a process, in bytes.</summary>
    public static long Pss(int pid) => Kilobytes($"/proc/{pid}/smaps_rollup", "Pss:") * 1024;

    /// <summary>Resident set size of a process, in bytes.</summary>
    public static long Rss(int pid) => Kilobytes($"/proc/{pid}/status", "VmRSS:") * 1024;

    /// <summary>Finds processes by a word of their command line.</summary>
    public static IEnumerable<int> WithArgument(string argument)
    {
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory.AsSpan()), out var pid) && Arguments(pid).Contains(argument))
            {
                yield return pid;
            }
        }
    }

    /// <summary>The process id of the kernel thread ksmd, or null where the kernel has no KSM.</summary>
    public static int? Ksmd()
    {
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory.AsSpan()), out var pid) && NameOf(pid) == "ksmd")
            {
                return pid;
            }
        }

        return null;
    }

    /// <summary>Processes with memory that KSM may merge (madvise or prctl), as "pid (name)".</summary>
    public static List<string> Mergeable()
    {
        var found = new List<string>();
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory.AsSpan()), out var pid)
                && TryRead($"/proc/{pid}/smaps").Split('\n').Any(IsMergeable))
            {
                found.Add($"{pid} ({NameOf(pid)})");
            }
        }

        return found;
    }

    /// <summary>Sends a signal; a process that is gone is no error.</summary>
    public static void Signal(int pid, int signal) => _ = Kill(pid, signal);

    private static bool IsMergeable(string line) =>
        line.StartsWith("VmFlags:", StringComparison.Ordinal) && line.Split(' ').Contains("mg");

    private static string[] Arguments(int pid) => TryRead($"/proc/{pid}/cmdline").Split('\0');

    private static string NameOf(int pid) => TryRead($"/proc/{pid}/comm").Trim();

    private static string TryRead(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    private static long Kilobytes(string file, string field)
    {
        var line = File.ReadLines(file).First(text => text.StartsWith(field, StringComparison.Ordinal));
        var number = line[field.Length..].Replace("kB", "", StringComparison.Ordinal);
        return long.Parse(number, CultureInfo.InvariantCulture);
    }

    [DllImport("libc", EntryPoint = "clock_gettime")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int GetTime(int clock, out Timespec time);

    [DllImport("libc", EntryPoint = "kill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Kill(int pid, int signal);

    private readonly record struct Timespec(long Seconds, long Nanoseconds);
}
