using Samepage.Linux.Host;

namespace Samepage.Linux.Interception;

/// <summary>
/// All processes of one command and what they have registered. Every change goes through the journal first. Not
/// thread-safe: <see cref="CommandRun"/> has the lock.
/// </summary>
internal sealed class RunState : IDisposable
{
    private const int FirstCapacity = 4096;
    private const int AncestorsMax = 64;
    private readonly Dictionary<int, RunProcess> _processes = [];
    private readonly Dictionary<int, RunProcess> _byThread = [];
    private readonly HashSet<ulong> _areas = [];
    private readonly Action<RunJournal> _replaced;

    /// <summary>An empty state, or the one a journal tells.</summary>
    /// <param name="journal">The journal.</param>
    /// <param name="replaced">Called with a new journal that has taken the place of a full one.</param>
    internal RunState(RunJournal? journal, Action<RunJournal> replaced)
    {
        _replaced = replaced;
        Journal = journal ?? RunJournal.Create(FirstCapacity);
        foreach (RunEntry entry in Journal.Entries())
        {
            Apply(entry);
        }
    }

    internal RunJournal Journal { get; private set; }

    internal IReadOnlyCollection<RunProcess> Processes => _processes.Values;

    /// <summary>Inode numbers that stand for the open shared memory areas of /dev/ksm.</summary>
    internal IReadOnlyCollection<ulong> Areas => _areas;

    internal RunProcess? Find(int pid) => _processes.GetValueOrDefault(pid);

    /// <summary>Writes an event down and lets it happen.</summary>
    internal void Do(in RunEntry entry)
    {
        if (Journal.IsFull)
        {
            Rewrite();
        }

        Journal.Append(entry);
        Apply(entry);
    }

    /// <summary>Makes a process known, with what it has inherited from <paramref name="parent"/>.</summary>
    internal RunProcess? Appear(int pid, RunProcess? parent)
    {
        if (ProcessFacts.StartTime(pid) is not { } start)
        {
            return null;
        }

        Do(new RunEntry(RunEvent.Appear, pid, start, 0, 0));
        foreach (RunEntry entry in parent?.Inheritance(pid, CallerFacts.HasExecuted(pid)).ToList() ?? [])
        {
            Do(entry);
        }

        return _processes[pid];
    }

    /// <summary>The process a calling thread belongs to, with its mappings open; null when it is gone.</summary>
    internal RunProcess? Of(int thread)
    {
        if (_byThread.TryGetValue(thread, out RunProcess? known))
        {
            if ((thread == known.Pid || CallerFacts.ShareMemory(thread, known.Pid)) && IsSame(known))
            {
                return known;
            }

            _byThread.Remove(thread);
        }

        if (!CallerFacts.TryFind(thread, out int pid, out int parent))
        {
            return null;
        }

        // A child of vfork, or one that shares memory for good: its calls are about the parent's memory.
        if (_processes.TryGetValue(parent, out RunProcess? owner)
            && CallerFacts.ShareMemory(pid, parent) && IsSame(owner))
        {
            return owner;
        }

        RunProcess? process = _processes.GetValueOrDefault(pid);
        process = process is not null && IsSame(process)
            ? _processes.GetValueOrDefault(pid)
            : Appear(pid, Ancestor(parent));
        if (process is null || !HasAreas(process))
        {
            return null;
        }

        _byThread[thread] = process;
        return process;
    }

    /// <summary>
    /// True when a process is still the one that was recorded. One that has executed another program loses what madvise
    /// had registered; the number of one that has ended may belong to another.
    /// </summary>
    internal bool IsSame(RunProcess process)
    {
        if (process.Areas is { IsAlive: true })
        {
            return true;
        }

        if (ProcessFacts.StartTime(process.Pid) != process.StartTicks)
        {
            Do(new RunEntry(RunEvent.Vanish, process.Pid, 0, 0, 0));
            return false;
        }

        if (process.Areas is not null)
        {
            Do(new RunEntry(RunEvent.Execute, process.Pid, 0, 0, 0));
        }

        return HasAreas(process);
    }

    public void Dispose()
    {
        foreach (RunProcess process in _processes.Values)
        {
            process.Dispose();
        }

        Journal.Dispose();
    }

    private static bool HasAreas(RunProcess process) =>
        (process.Areas ??= MappedAreas.TryOpen(process.Pid)) is not null;

    // A parent that never called and was not seen in time is unknown: what it had, it had from its own parent. An
    // orphan has lost its line; then the command's first process stands for it.
    private RunProcess? Ancestor(int pid)
    {
        for (int i = 0; i < AncestorsMax && pid > 1; i++)
        {
            if (_processes.TryGetValue(pid, out RunProcess? known))
            {
                return known;
            }

            pid = ProcessFacts.Parent(pid) ?? 0;
        }

        return _processes.Values.MinBy(process => process.StartTicks);
    }

    private void Apply(in RunEntry entry)
    {
        switch (entry.Event)
        {
            case RunEvent.Appear:
                Remove(entry.Pid);
                _processes.Add(entry.Pid, new RunProcess(entry.Pid, entry.A));
                break;
            case RunEvent.Vanish:
                Remove(entry.Pid);
                break;
            case RunEvent.OpenArea:
                _areas.Add(entry.C);
                break;
            case RunEvent.EmptyArea or RunEvent.CloseArea:
                foreach (RunProcess process in _processes.Values)
                {
                    process.Apply(entry);
                }

                if (entry.Event == RunEvent.CloseArea)
                {
                    _areas.Remove(entry.C);
                }

                break;
            default:
                _processes.GetValueOrDefault(entry.Pid)?.Apply(entry);
                break;
        }
    }

    private void Remove(int pid)
    {
        if (!_processes.Remove(pid, out RunProcess? process))
        {
            return;
        }

        process.Dispose();
        foreach ((int thread, RunProcess owner) in _byThread.ToList())
        {
            if (owner == process)
            {
                _byThread.Remove(thread);
            }
        }
    }

    // Twice the room of what is left once everything that was undone is left out.
    private void Rewrite()
    {
        List<RunEntry> entries =
        [
            .. _areas.Select(area => new RunEntry(RunEvent.OpenArea, 0, 0, 0, area)),
            .. _processes.Values.SelectMany(process => process.Entries()),
        ];
        var fresh = RunJournal.Create(Math.Max(FirstCapacity, 2 * entries.Count));
        foreach (RunEntry entry in entries)
        {
            fresh.Append(entry);
        }

        _replaced(fresh);
        Journal.Dispose();
        Journal = fresh;
    }
}
