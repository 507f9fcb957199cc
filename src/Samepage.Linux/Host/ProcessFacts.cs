using System.Globalization;

namespace Samepage.Linux.Host;

/// <summary>
/// Small facts about a process from /proc. Every one is null when the process is gone or may not be read.
/// </summary>
internal static class ProcessFacts
{
    private const int ChildrenMax = 10_000;

    /// <summary>Real user id of the process: the default trust domain is named after it.</summary>
    internal static uint? RealUserId(int pid)
    {
        var line = StatusLine(pid, "Uid:");
        var fields = line?.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        return fields is { Length: > 0 } && uint.TryParse(fields[0], CultureInfo.InvariantCulture, out var uid)
            ? uid
            : null;
    }

    /// <summary>Short name (comm).</summary>
    internal static string? Name(int pid) => Read($"/proc/{pid}/comm")?.TrimEnd('\n');

    /// <summary>
    /// Start of the process in clock ticks since boot (field 22 of stat): with the pid it names one process for ever.
    /// Null also for a zombie, which has ended and only waits for its parent.
    /// </summary>
    internal static ulong? StartTime(int pid)
    {
        // The name in parentheses may hold anything, blanks and parentheses too: count after its last parenthesis.
        var stat = Read($"/proc/{pid}/stat");
        var fields = stat?[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields is { Length: > 19 } && fields[0] is not ("Z" or "X")
            && ulong.TryParse(fields[19], CultureInfo.InvariantCulture, out var ticks)
            ? ticks
            : null;
    }

    /// <summary>Children of all threads of the process (needs CONFIG_PROC_CHILDREN; empty without).</summary>
    internal static IReadOnlyList<int> Children(int pid)
    {
        var children = new List<int>();
        try
        {
            foreach (var task in Directory.EnumerateDirectories($"/proc/{pid}/task"))
            {
                foreach (var word in (Read(task + "/children") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries))
                {
                    if (int.TryParse(word, CultureInfo.InvariantCulture, out var child) && children.Count < ChildrenMax)
                    {
                        children.Add(child);
                    }
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The process ended between two reads: what was seen so far is the answer.
        }

        return children;
    }

    /// <summary>Proportional set size in bytes as the kernel counts it (smaps_rollup, since Linux 4.14).</summary>
    internal static long? ProportionalSetBytes(int pid)
    {
        var text = Read($"/proc/{pid}/smaps_rollup");
        var at = text?.IndexOf("\nPss:", StringComparison.Ordinal) ?? -1;
        if (at < 0)
        {
            return null;
        }

        var fields = text!.AsSpan(at + 5).TrimStart();
        var blank = fields.IndexOf(' ');
        return blank > 0 && long.TryParse(fields[..blank], CultureInfo.InvariantCulture, out var kibibytes)
            ? kibibytes * 1024
            : null;
    }

    /// <summary>Resident set size in bytes (status, VmRSS).</summary>
    internal static long? ResidentBytes(int pid)
    {
        var line = StatusLine(pid, "VmRSS:")?.Trim();
        var blank = line?.IndexOf(' ') ?? -1;
        return blank > 0 && long.TryParse(line.AsSpan(0, blank), CultureInfo.InvariantCulture, out var kibibytes)
            ? kibibytes * 1024
            : null;
    }

    /// <summary>Soft limit of open files; null also when there is none ("unlimited").</summary>
    internal static ulong? SoftOpenFilesLimit(int pid)
    {
        foreach (var line in (Read($"/proc/{pid}/limits") ?? "").Split('\n'))
        {
            if (line.StartsWith("Max open files", StringComparison.Ordinal))
            {
                var fields = line["Max open files".Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
                return fields.Length > 0 && ulong.TryParse(fields[0], CultureInfo.InvariantCulture, out var limit)
                    ? limit
                    : null;
            }
        }

        return null;
    }

    /// <summary>Parent of a process.</summary>
    internal static int? Parent(int pid) =>
        int.TryParse(StatusLine(pid, "PPid:"), CultureInfo.InvariantCulture, out var parent) ? parent : null;

    private static string? StatusLine(int pid, string key)
    {
        foreach (var line in (Read($"/proc/{pid}/status") ?? "").Split('\n'))
        {
            if (line.StartsWith(key, StringComparison.Ordinal))
            {
                return line[key.Length..];
            }
        }

        return null;
    }

    private static string? Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
