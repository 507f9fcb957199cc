namespace Samepage.Linux.Interception;

/// <summary>One process of a command: what it has registered, in KSM's terms.</summary>
internal sealed class RunProcess(int pid, ulong startTicks) : IDisposable
{
    private static readonly PageRange Everything = new(0, 1UL << 35);

    internal int Pid { get; } = pid;

    /// <summary>Start of the process in clock ticks since boot.</summary>
    internal ulong StartTicks { get; } = startTicks;

    /// <summary>PR_SET_MEMORY_MERGE is on.</summary>
    internal bool IsWhole { get; set; }

    /// <summary>Registered by MADV_MERGEABLE.</summary>
    internal PageSet Advised { get; } = new();

    /// <summary>MADV_UNMERGEABLE while the whole process is registered.</summary>
    internal PageSet Excepted { get; } = new();

    /// <summary>Registered in shared memory areas of /dev/ksm, by area.</summary>
    internal Dictionary<ulong, PageSet> InAreas { get; } = [];

    /// <summary>Its mappings; opened on first use.</summary>
    internal MappedAreas? Areas { get; set; }

    /// <summary>The daemon's registration is to follow.</summary>
    internal bool IsChanged { get; set; }

    /// <summary>Times the daemon tried in vain to attach it since its last request.</summary>
    internal int FailedAttempts { get; set; }

    /// <summary>The daemon has attached it at least once in this address space: pages may be merged.</summary>
    internal bool WasAttached { get; set; }

    /// <summary>The daemon is at it.</summary>
    internal bool IsBeingAttached { get; set; }

    /// <summary>It has made a request of its own, so it will live long enough to be worth attaching.</summary>
    internal bool HasAsked { get; set; }

    /// <summary>It is <c>samepage run</c> itself, before its execve.</summary>
    internal bool IsPrelude { get; set; }

    /// <summary>Looks at it so far: a child that only lives for a moment is not worth stopping.</summary>
    internal int Looks { get; set; }

    internal bool HasRegistered => IsWhole || !Advised.IsEmpty || InAreas.Count > 0;

    /// <summary>All that is registered: null for everything.</summary>
    internal IReadOnlyList<PageRange>? Registered()
    {
        var all = new PageSet();
        if (IsWhole)
        {
            if (Excepted.IsEmpty)
            {
                return null;
            }

            foreach (PageRange gap in Excepted.Gaps(Everything.End))
            {
                all.Add(gap);
            }
        }

        foreach (PageRange span in Advised.Spans.Concat(InAreas.Values.SelectMany(area => area.Spans)))
        {
            all.Add(span);
        }

        return [.. all.Spans];
    }

    /// <summary>True when any of the pages is registered.</summary>
    internal bool HasAnyOf(PageRange pages) =>
        Registered() is not { } spans || spans.Any(span => span.Start < pages.End && pages.Start < span.End);

    internal void Apply(in RunEntry entry)
    {
        switch (entry.Event)
        {
            case RunEvent.Register:
                IsChanged |= Advised.Add(entry.Pages) | Excepted.Remove(entry.Pages);
                break;
            case RunEvent.Unregister:
                IsChanged |= Advised.Remove(entry.Pages);
                break;
            case RunEvent.Except:
                IsChanged |= Advised.Remove(entry.Pages) | Excepted.Add(entry.Pages);
                break;
            case RunEvent.RegisterAll:
                SetWhole(entry.A != 0);
                break;
            case RunEvent.RegisterInArea:
                if (!InAreas.TryGetValue(entry.C, out PageSet? pages))
                {
                    InAreas.Add(entry.C, pages = new PageSet());
                }

                IsChanged |= pages.Add(entry.Pages);
                break;
            case RunEvent.EmptyArea or RunEvent.CloseArea:
                IsChanged |= InAreas.Remove(entry.C);
                break;
            case RunEvent.Execute:
                ForgetMemory();
                break;
            default:
                break;
        }
    }

    /// <summary>The events that lead to the present state.</summary>
    internal IEnumerable<RunEntry> Entries()
    {
        yield return new RunEntry(RunEvent.Appear, Pid, StartTicks, 0, 0);
        foreach (RunEntry entry in Registrations(Pid, areas: true))
        {
            yield return entry;
        }
    }

    /// <summary>What a forked child inherits: the kernel's flags do, the areas of /dev/ksm belong to one address
    /// space.</summary>
    internal IEnumerable<RunEntry> Inheritance(int child, bool executed) =>
        executed
            ? IsWhole ? [new RunEntry(RunEvent.RegisterAll, child, 1, 0, 0)] : []
            : Registrations(child, areas: false);

    public void Dispose() => Areas?.Dispose();

    private IEnumerable<RunEntry> Registrations(int process, bool areas)
    {
        if (IsWhole)
        {
            yield return new RunEntry(RunEvent.RegisterAll, process, 1, 0, 0);
        }

        foreach (PageRange span in Excepted.Spans)
        {
            yield return new RunEntry(RunEvent.Except, process, span.Start, span.End, 0);
        }

        foreach (PageRange span in Advised.Spans)
        {
            yield return new RunEntry(RunEvent.Register, process, span.Start, span.End, 0);
        }

        foreach ((ulong area, PageSet pages) in areas ? InAreas : [])
        {
            foreach (PageRange span in pages.Spans)
            {
                yield return new RunEntry(RunEvent.RegisterInArea, process, span.Start, span.End, area);
            }
        }
    }

    // As ksm_enable_merge_any and ksm_disable_merge_any: on marks everything, also what was excepted before; off, after
    // on, un-marks everything, also what madvise marked.
    private void SetWhole(bool whole)
    {
        if (whole)
        {
            IsChanged |= !IsWhole || !Excepted.IsEmpty;
            Excepted.Clear();
        }
        else if (IsWhole)
        {
            IsChanged = true;
            Advised.Clear();
            Excepted.Clear();
        }

        IsWhole = whole;
    }

    private void ForgetMemory()
    {
        Advised.Clear();
        Excepted.Clear();
        InAreas.Clear();
        Areas?.Dispose();
        Areas = null;
        IsChanged = true;
        WasAttached = false;
        IsBeingAttached = false;
        HasAsked = false;
        IsPrelude = false;
        FailedAttempts = 0;
        Looks = 0;
    }
}
