namespace Samepage.Linux;

/// <summary>
/// Who keeps and serves the userfaultfd of merged memory when nobody else does: the keeper process. It must hold a
/// target's descriptor before the first page of that target is merged.
/// </summary>
public interface IMergedMemoryKeeper
{
    /// <summary>Takes the userfaultfd with number <paramref name="descriptor"/> in the target's table into care.</summary>
    /// <exception cref="IOException">It could not.</exception>
    void Add(int pid, ulong startTicks, int descriptor);

    /// <summary>The target has no merged memory any more.</summary>
    void Drop(int pid);

    /// <summary>Keeps the store of a domain open, so that a daemon's death does not free it.</summary>
    void KeepStore(string domain, int descriptor);

    /// <summary>The store an earlier daemon left, or null. The caller owns the handle.</summary>
    Microsoft.Win32.SafeHandles.SafeFileHandle? TakeStore(string domain);
}

/// <summary>How a <see cref="LiveMachine"/> works.</summary>
public sealed record LiveMachineOptions
{
    /// <summary>Who keeps merged memory.</summary>
    public required IMergedMemoryKeeper Keeper { get; init; }

    /// <summary>Which daemon this is, over its restarts (its socket's path): what one home has left behind, no other takes over
    /// unasked.</summary>
    public string Home { get; init; } = "";

    /// <summary>How long a batch may keep a target's threads waiting, by estimate. 0.1 to 5 ms.</summary>
    public TimeSpan BatchTime { get; init; } = TimeSpan.FromMilliseconds(0.7);

    /// <summary>Give up stopping a target after this time. 1 to 100 ms.</summary>
    public TimeSpan StopLimit { get; init; } = TimeSpan.FromMilliseconds(4);

    /// <summary>Memory areas a target keeps in reserve below vm.max_map_count.</summary>
    public int VmaReserve { get; init; } = 2000;

    /// <summary>Time between two full looks at a target's mappings when cheap signs say that nothing changed.</summary>
    public TimeSpan FullLookInterval { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Targets that may be stopped at the same time, from 1. Half the processors by default, at most 4: a borrowed thread
    /// keeps one busy, and while it waits for one its target stands still.</summary>
    public int Tracers { get; init; } = Math.Clamp(Environment.ProcessorCount / 2, 1, 4);

    /// <summary>After this time a window begins no further operation but its first; null = somewhat above
    /// <see cref="BatchTime"/>.</summary>
    internal TimeSpan? EnoughTime { get; init; }

    /// <summary>True: page-table entries of the store window stay after merging. Wrong; lets a test show that it would
    /// notice.</summary>
    internal bool KeepsStoreWindow { get; init; }

    /// <summary>True: merge with one thread stopped and the others running on. Wrong; lets a test show that its
    /// detector sees what that breaks.</summary>
    internal bool StopsOneThreadOnly { get; init; }

    /// <summary>True: tell notifiers when the target runs on already. Wrong; lets a test show that it would notice.
    /// </summary>
    internal bool NotifiesAfterwards { get; init; }
}

/// <summary>What to attach to.</summary>
public sealed record AttachRequest
{
    /// <summary>Trust domain; null = "uid:" and the real user id of the process.</summary>
    public string? Domain { get; init; }

    /// <summary>Only these; null = all mergeable memory, also what is mapped later.</summary>
    public IReadOnlyList<PageRange>? Ranges { get; init; }
}

/// <summary>A target that a dead daemon left attached.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Domain">Its trust domain.</param>
/// <param name="Ranges">The ranges asked for; null = everything.</param>
public sealed record LeftBehind(int Pid, string Domain, IReadOnlyList<PageRange>? Ranges);
