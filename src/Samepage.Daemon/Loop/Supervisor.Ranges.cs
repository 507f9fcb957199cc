using System.Globalization;
using Samepage.Daemon.Api;

namespace Samepage.Daemon.Loop;

/// <content>Single spans of a process, which come and go one by one: what the library and madvise ask for.</content>
public sealed partial class Supervisor
{
    private static readonly UnmergeReport NothingDone = new(
        0, 0, TimeSpan.Zero, Complete: true, new Dictionary<NotMergedReason, long>());

    /// <summary>
    /// Merges a span of a process from now on. The process is attached with its first span. One that somebody has
    /// attached as a whole has the span already.
    /// </summary>
    internal TargetDocument RegisterRange(int pid, PageRange range, string? domain)
    {
        if (Find(pid) is not { Target.IsAlive: true } target)
        {
            return Attach(pid, domain, [range], followChildren: false);
        }

        if (domain is not null && domain != target.Domain)
        {
            throw new RequestException(
                ExitCode.Usage, $"process {pid} is attached in domain {target.Domain}: name that one, or none");
        }

        if (target.Ranges is { } known)
        {
            var joined = Join(known, range);
            if (joined.Count > Api.Ranges.CountMax)
            {
                throw new RequestException(ExitCode.Failed, string.Create(
                    CultureInfo.InvariantCulture,
                    $"process {pid} has {known.Count} ranges already: take away some, or attach it as a whole"));
            }

            provider.SetRanges(target.Target, joined, range);
            engine.SetRanges(target, joined);
            Save();
        }

        return Get(pid);
    }

    /// <summary>
    /// Un-merges a span and merges it no more; with its last span the process is detached. A process that is attached
    /// as a whole stays so.
    /// </summary>
    internal UnmergeDocument UnregisterRange(int pid, PageRange range, CancellationToken cancel)
    {
        var target = Find(pid) ?? throw NotAttached(pid);
        if (target.Ranges is not { } known)
        {
            return Snapshot.Unmerge(NothingDone, [target]);
        }

        var rest = Cut(known, range);
        if (rest.Count == 0)
        {
            return Detach(pid, null, cancel);
        }

        var report = engine.UnmergeSpan(target, range, cancel);
        if (target.Target.IsAlive && !report.Complete)
        {
            throw new RequestException(ExitCode.Failed, CancelledOrLeft(target, report));
        }

        provider.SetRanges(target.Target, rest, null);
        engine.SetRanges(target, rest);
        Save();
        return Snapshot.Unmerge(report, [target]);
    }

    /// <summary>The spans and one more, those that meet joined.</summary>
    private static List<PageRange> Join(IReadOnlyList<PageRange> ranges, PageRange added)
    {
        var start = added.Start;
        var end = added.End;
        var result = new List<PageRange>();
        foreach (var range in ranges)
        {
            if (range.End < start || range.Start > end)
            {
                result.Add(range);
            }
            else
            {
                start = Math.Min(start, range.Start);
                end = Math.Max(end, range.End);
            }
        }

        result.Add(new PageRange(start, end));
        result.Sort((a, b) => a.Start.CompareTo(b.Start));
        return result;
    }

    /// <summary>What of the spans lies outside one.</summary>
    private static List<PageRange> Cut(IReadOnlyList<PageRange> ranges, PageRange gone)
    {
        var result = new List<PageRange>();
        foreach (var range in ranges)
        {
            var before = new PageRange(range.Start, Math.Min(range.End, gone.Start));
            var after = new PageRange(Math.Max(range.Start, gone.End), range.End);
            result.AddRange(new[] { before, after }.Where(part => !part.IsEmpty));
        }

        return result;
    }
}
