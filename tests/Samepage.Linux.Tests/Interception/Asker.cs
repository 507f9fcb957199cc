using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Interception;

/// <summary>A result and its error number, as the program saw them.</summary>
internal readonly record struct Answer(long Result, long Errno)
{
    public static Answer Ok => new(0, 0);

    public static Answer Error(long errno) => new(-1, errno);
}

/// <summary>The program Victims/asker.c, which makes KSM's calls as it is told; under <c>samepage run</c> or
/// not.</summary>
internal sealed class Asker : IDisposable
{
    public const int Merge = 12, Unmerge = 13, SetAll = 67, GetAll = 68;
    public const int EINVAL = 22, ENOMEM = 12, EFAULT = 14, ENOSYS = 38;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly DetachedProcess _process;

    private Asker(DetachedProcess process) => _process = process;

    public int Pid => _process.Pid;

    /// <summary>Under <c>samepage run</c> with options of its own.</summary>
    public static Asker Run(LiveDaemon daemon, params string[] options) =>
        Start(LiveDaemon.Program, ["run", "--socket", daemon.Socket, .. options, "--", Program()], daemon.Log);

    /// <summary>The same, but a static program.</summary>
    public static Asker RunStatic(LiveDaemon daemon) =>
        Start(LiveDaemon.Program, ["run", "--socket", daemon.Socket, "--", Program(isStatic: true)], daemon.Log);

    /// <summary>On its own: the kernel answers.</summary>
    public static Asker Alone() => Start(Program(), [], "/dev/null");

    public static Asker Start(string program, IEnumerable<string> arguments, string log)
    {
        var asker = new Asker(DetachedProcess.Start(program, arguments, LiveDaemon.Variables(log)));
        try
        {
            asker._process.ReadLine("= ready", Limit);
            return asker;
        }
        catch
        {
            asker.Dispose();
            throw;
        }
    }

    public static string Program(bool isStatic = false) => CVictim.Compile("asker", isStatic);

    public Answer Do(FormattableString command) => Do(FormattableString.Invariant(command));

    public Answer Do(string command)
    {
        Send(command);
        return Receive();
    }

    public void Send(string command) => _process.Send(command);

    public Answer Receive()
    {
        string[] words = _process.ReadLine("= ", Limit).Split(' ');
        return new Answer(
            long.Parse(words[1], CultureInfo.InvariantCulture), long.Parse(words[2], CultureInfo.InvariantCulture));
    }

    public void Execute()
    {
        Send("exec");
        _process.ReadLine("= ready", Limit);
    }

    /// <summary>Maps anonymous private memory and fills it with pages that depend on the seed.</summary>
    public ulong Filled(int pages, int seed)
    {
        ulong at = (ulong)Do($"map anon 0 {pages}").Result;
        Do($"fill {at} {pages} {seed}");
        return at;
    }

    public Answer Advise(ulong at, int pages, int advice) => Do($"madvise {at} {pages * 4096L} {advice}");

    /// <summary>Pages that do not have the bytes they were filled with.</summary>
    public long Wrong(ulong at, int pages, int seed) => Do($"wrong {at} {pages} {seed}").Result;

    public ulong[] Frames(ulong at, int pages) => PageProof.Frames(Pid, at, pages);

    public int WaitForExit() => _process.WaitForExit(Limit);

    public void Dispose() => _process.Dispose();
}

/// <summary>What the kernel says about pages.</summary>
internal static class PageProof
{
    /// <summary>Physical frames of pages (pagemap bits 0 to 54); 0 for a page that is not there.</summary>
    public static ulong[] Frames(int pid, ulong at, int pages)
    {
        var bytes = new byte[pages * 8];
        using FileStream pagemap = File.OpenRead($"/proc/{pid}/pagemap");
        pagemap.Seek((long)(at / 4096 * 8), SeekOrigin.Begin);
        pagemap.ReadExactly(bytes);
        return [.. Enumerable.Range(0, pages).Select(i => BitConverter.ToUInt64(bytes, i * 8))
            .Select(entry => (entry >> 63) != 0 ? entry & ((1UL << 55) - 1) : 0)];
    }

    /// <summary>Pages of two processes that lie in one frame.</summary>
    public static int Shared(ulong[] one, ulong[] other) =>
        one.Zip(other).Count(pair => pair.First != 0 && pair.First == pair.Second);

    /// <summary>Proportional set size in KiB of the mappings inside a span, as the kernel accounts for it.</summary>
    public static long PssKilobytes(int pid, ulong at, int pages)
    {
        long sum = 0;
        bool inside = false;
        foreach (string line in File.ReadLines($"/proc/{pid}/smaps"))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words[0].Contains('-', StringComparison.Ordinal) && words.Length >= 5)
            {
                ulong start = ulong.Parse(words[0].Split('-')[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                inside = start >= at && start < at + ((ulong)pages * 4096);
            }
            else if (inside && words[0] == "Pss:")
            {
                sum += long.Parse(words[1], CultureInfo.InvariantCulture);
            }
        }

        return sum;
    }
}

/// <summary>One daemon for the tests of a class, which does nothing unless asked to.</summary>
public sealed class RunDaemon : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    public RunDaemon()
    {
        Live = new LiveDaemon();
        Live.Start();
        Live.Await(0, 0, Limit);
        Live.Ask(HttpMethod.Put, "/v1/knobs/run", """{"value":"0"}""");
    }

    internal LiveDaemon Live { get; }

    /// <summary>What the daemon knows of a process; null when it is not attached.</summary>
    internal JsonElement? Target(int pid)
    {
        foreach (JsonElement target in Live.Ask(HttpMethod.Get, "/v1/targets").GetProperty("targets").EnumerateArray())
        {
            if (target.GetProperty("pid").GetInt32() == pid)
            {
                return target;
            }
        }

        return null;
    }

    /// <summary>Merges until that many pages of a process are merged.</summary>
    internal void Merge(int pages, params int[] pids) => Until(
        () =>
        {
            if (pids.Any(pid => Target(pid) is null))
            {
                return false;
            }

            Live.Ask(HttpMethod.Post, "/v1/merge", $$"""{"pids":[{{string.Join(',', pids)}}]}""");
            return pids.All(pid => Target(pid)?.GetProperty("merged_pages").GetInt64() >= pages);
        },
        $"{pages} pages were not merged");

    internal void Until(Func<bool> condition, string otherwise)
    {
        for (var watch = Stopwatch.StartNew(); !condition(); Thread.Sleep(10))
        {
            if (watch.Elapsed > Limit)
            {
                throw new TimeoutException($"{otherwise}\n{Live.LogTail}");
            }
        }
    }

    public void Dispose() => Live.Dispose();
}
