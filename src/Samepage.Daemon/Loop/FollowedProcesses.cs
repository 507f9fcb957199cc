using Samepage.Linux.Host;

namespace Samepage.Daemon.Loop;

/// <summary>
/// Processes whose descendants are attached as they appear (<c>samepage run --all</c>). A child is attached when two
/// looks in a row have seen it: one that only lives for a moment, or is between fork and exec, is left alone. A process
/// that executes another program loses its attachment with its memory and gets a new one here.
/// </summary>
internal sealed class FollowedProcesses(Func<int, string?, bool> attach)
{
    private const int FollowedMax = Supervisor.TargetsMax;
    private const int AttemptsMax = 3;

    private readonly Dictionary<int, Entry> entries = [];

    internal bool Any => entries.Count > 0;

    internal bool Contains(int pid) => entries.ContainsKey(pid);

    /// <summary>Follows a process from now on.</summary>
    internal void Add(int pid, string? domain)
    {
        if (ProcessFacts.StartTime(pid) is { } start)
        {
            entries[pid] = new Entry(start, domain);
        }
    }

    /// <summary>Stops following a process (its children go on being followed).</summary>
    internal void Forget(int pid) => entries.Remove(pid);

    /// <summary>Attaches what has appeared.</summary>
    /// <param name="isAttached">Whether a process is attached now.</param>
    /// <returns>True when something changed.</returns>
    internal bool Look(Func<int, bool> isAttached)
    {
        var changed = false;
        foreach (var (pid, entry) in entries.ToList())
        {
            if (ProcessFacts.StartTime(pid) != entry.StartTime)
            {
                entries.Remove(pid);
                changed = true;
                continue;
            }

            changed |= AttachAgain(pid, entry, isAttached);
            foreach (var child in ProcessFacts.Children(pid))
            {
                if (!entries.ContainsKey(child) && entries.Count < FollowedMax)
                {
                    Add(child, entry.Domain);
                }
            }
        }

        return changed;
    }

    private bool AttachAgain(int pid, Entry entry, Func<int, bool> isAttached)
    {
        if (isAttached(pid))
        {
            entry.SeenDetached = false;
            entry.Attempts = 0;
            return false;
        }

        if (!entry.SeenDetached)
        {
            entry.SeenDetached = true;
            return false;
        }

        return entry.Attempts++ < AttemptsMax && attach(pid, entry.Domain);
    }

    private sealed class Entry(ulong startTime, string? domain)
    {
        internal ulong StartTime { get; } = startTime;

        internal string? Domain { get; } = domain;

        internal bool SeenDetached { get; set; }

        internal int Attempts { get; set; }
    }
}
