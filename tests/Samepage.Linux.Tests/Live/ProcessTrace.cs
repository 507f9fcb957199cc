using System.Globalization;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// What a process looked like before it was attached, to be compared after it was detached: descriptors, mappings,
/// signal masks, tracer. Read from /proc as text, not by the parsers under test.
/// </summary>
internal sealed class ProcessTrace
{
    private readonly int _pid;
    private readonly HashSet<string> _masks;
    private readonly int _deleted;

    private ProcessTrace(int pid)
    {
        _pid = pid;
        _masks = BlockedSignals(pid);
        _deleted = OurFiles(pid).Count;
    }

    public static ProcessTrace Of(int pid) => new(pid);

    /// <summary>The different masks of blocked signals its threads have.</summary>
    public static HashSet<string> BlockedSignals(int pid) => [.. Fields(pid, "SigBlk:")];

    public void ExpectMasks(ReadOnlySpan<string> masks)
    {
        foreach (string mask in masks)
        {
            _masks.Add(mask);
        }
    }

    /// <summary>Fails unless no thread is traced, stopped by a tracer, or blocks signals that none blocked before.</summary>
    public void AssertThreadsAsBefore()
    {
        Assert.All(Fields(_pid, "TracerPid:"), tracer => Assert.Equal("0", tracer));
        // A thread may be caught in the C library blocking all signals for a moment: look again.
        for (int look = 0; look < 50 && !BlockedSignals(_pid).IsSubsetOf(_masks); look++)
        {
            Thread.Sleep(20);
        }

        Assert.True(
            BlockedSignals(_pid).IsSubsetOf(_masks), $"blocked before: {string.Join(' ', _masks)}\n{DescribeThreads(_pid)}");
    }

    /// <summary>Where each thread is, for the message of a failure.</summary>
    private static string DescribeThreads(int pid)
    {
        static string Read(string path) => File.Exists(path) ? File.ReadAllText(path).Trim() : "";
        IEnumerable<string> lines = Directory.EnumerateDirectories($"/proc/{pid}/task").Select(task =>
            $"{Path.GetFileName(task)} {Read(task + "/comm")} "
            + string.Join(' ', File.ReadLines(task + "/status")
                .Where(l => l.StartsWith("State", StringComparison.Ordinal) || l.StartsWith("SigBlk", StringComparison.Ordinal)))
            + $" {Read(task + "/wchan")} {Read(task + "/syscall")}");
        return string.Join('\n', lines);
    }

    /// <summary>Fails when the process has a descriptor, a mapping or a registration of ours.</summary>
    public void AssertNothingLeft(FileIdentity? store)
    {
        AssertThreadsAsBefore();
        Assert.DoesNotContain(Descriptors(_pid), link => link.Contains("userfaultfd", StringComparison.Ordinal));
        Assert.True(OurFiles(_pid).Count == _deleted, string.Join('\n', OurFiles(_pid)));
        string file = store is { } known
            ? string.Create(CultureInfo.InvariantCulture, $" {known.Major:x2}:{known.Minor:x2} {known.Inode} ") : "\n";
        foreach (string line in File.ReadLines($"/proc/{_pid}/smaps"))
        {
            Assert.False(line.Contains(file, StringComparison.Ordinal), line);
            if (line.StartsWith("VmFlags:", StringComparison.Ordinal))
            {
                string[] flags = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                Assert.Empty(flags.Intersect(["um", "uw", "ui"]));
            }
        }
    }

    /// <summary>Descriptors and mappings whose name is one of ours, and those of unnamed tmpfs files.</summary>
    private static List<string> OurFiles(int pid) =>
    [
        .. Descriptors(pid).Concat(File.ReadLines($"/proc/{pid}/maps")).Where(text =>
            text.Contains("samepage-", StringComparison.Ordinal) && text.Contains("memfd", StringComparison.Ordinal)),
    ];

    private static List<string> Descriptors(int pid)
    {
        var links = new List<string>();
        foreach (string path in Directory.EnumerateFileSystemEntries($"/proc/{pid}/fd"))
        {
            try
            {
                links.Add(new FileInfo(path).LinkTarget ?? "");
            }
            catch (IOException)
            {
                // Closed meanwhile.
            }
        }

        return links;
    }

    private static List<string> Fields(int pid, string name)
    {
        var values = new List<string>();
        foreach (string task in Directory.EnumerateDirectories($"/proc/{pid}/task"))
        {
            try
            {
                values.AddRange(File.ReadLines($"{task}/status")
                    .Where(line => line.StartsWith(name, StringComparison.Ordinal)).Select(line => line[name.Length..].Trim()));
            }
            catch (IOException)
            {
                // That thread has ended.
            }
        }

        return values;
    }
}
