using Microsoft.Extensions.Logging;
using Samepage.Linux.Interception;

namespace Samepage.Daemon.Loop;

/// <summary>
/// Brings the engine's registrations in line with what programs under <c>samepage run</c> have asked for by KSM's own
/// calls. Lives on the engine's loop.
/// </summary>
internal sealed class RequestedTargets
{
    private const ulong PagesEnd = 1UL << 35;
    private readonly Supervisor supervisor;
    private readonly ITargetProvider provider;
    private readonly ILogger log;

    // Processes attached by request. What somebody attached by hand stays as he said.
    private readonly HashSet<int> owned = [];

    internal RequestedTargets(Supervisor supervisor, ITargetProvider provider, CommandRuns runs, ILogger log)
    {
        this.supervisor = supervisor;
        this.provider = provider;
        this.log = log;
        Runs = runs;
        foreach (var target in supervisor.Engine.Targets.Where(target => target.Ranges is { Count: 0 }))
        {
            owned.Add(target.Target.Pid);
        }

        foreach (var problem in runs.TakeOver())
        {
            log.LogError("Not taken over from the daemon before: {Reason}", problem);
        }
    }

    internal CommandRuns Runs { get; }

    internal bool Owns(int pid) => owned.Contains(pid);

    /// <summary>Notices what no call tells, and carries out what has come of it.</summary>
    internal bool LookAround()
    {
        Runs.LookAround();
        owned.RemoveWhere(pid => supervisor.Find(pid) is null);
        return CarryOut();
    }

    /// <summary>Carries out what has been asked for.</summary>
    /// <returns>True when the list of attached processes has changed.</returns>
    internal bool CarryOut()
    {
        var changed = false;
        foreach (var (run, domain, change) in Runs.TakeChanges())
        {
            var attached = false;
            try
            {
                attached = CarryOut(domain, change, ref changed);
            }
            catch (RequestException error)
            {
                log.LogInformation("Memory of a command is not merged: {Reason}", error.Message);
            }
            finally
            {
                Runs.Done(run, change, attached);
            }
        }

        return changed;
    }

    private bool CarryOut(string? domain, RunChange change, ref bool changed)
    {
        if (supervisor.Find(change.Pid) is not { Target.IsAlive: true } target)
        {
            if (change.Registered is { Count: 0 })
            {
                return false;
            }

            supervisor.RegisterRequested(change.Pid, domain, change.Registered);
            owned.Add(change.Pid);
            changed = true;
            return true;
        }

        if (!owned.Contains(change.Pid))
        {
            return true;
        }

        provider.ListAgain(target.Target, Subtract(change.Registered, target.Ranges));
        supervisor.Engine.SetRanges(target, change.Registered);
        if (change.Unmerges && change.Registered is not null
            && provider.BreakSharing(target.Target, Outside(change.Registered)) is > 0 and var left)
        {
            log.LogInformation(
                "{Pages} un-registered pages of process {Pid} stay merged: it may not write them", left, change.Pid);
        }

        return true;
    }

    /// <summary>What is registered now and was not before.</summary>
    private static IEnumerable<PageRange> Subtract(IReadOnlyList<PageRange>? now, IReadOnlyList<PageRange>? before)
    {
        if (before is null)
        {
            yield break;
        }

        foreach (var gap in Outside(before))
        {
            foreach (var range in now ?? [new PageRange(0, PagesEnd)])
            {
                if (!gap.Intersect(range).IsEmpty)
                {
                    yield return gap.Intersect(range);
                }
            }
        }
    }

    private static IEnumerable<PageRange> Outside(IReadOnlyList<PageRange> ranges)
    {
        ulong at = 0;
        foreach (var range in ranges)
        {
            if (range.Start > at)
            {
                yield return new PageRange(at, range.Start);
            }

            at = range.End;
        }

        yield return new PageRange(at, PagesEnd);
    }
}
