namespace Samepage;

/// <summary>What to do with a run of pages.</summary>
public enum PlanKind : byte
{
    /// <summary>Replace private anonymous pages by store pages with the same bytes.</summary>
    Share,

    /// <summary>The same for pages that were merged before and whose sharing a write has broken.</summary>
    Reshare,

    /// <summary>Take all-zero anonymous pages away; the kernel maps its zero page at the next read.</summary>
    Zero,

    /// <summary>
    /// Give the target private copies of pages mapped from the store. Broken ones are left as they are.
    /// </summary>
    Unshare,
}

/// <summary>What became of a plan; of the first page that was not done where not all were.</summary>
public enum PlanOutcome : byte
{
    /// <summary>The machine has not looked at it.</summary>
    NotTried,

    /// <summary>All pages done.</summary>
    Done,

    /// <summary>The page at <see cref="MergePlan.DonePages"/> no longer has the planned bytes.</summary>
    ContentChanged,

    /// <summary>That page is pinned (direct I/O, registered buffers) or shared with a forked child.</summary>
    Pinned,

    /// <summary>That page is not there any more (unmapped, swapped out, taken away, remapped).</summary>
    Vanished,

    /// <summary>Doing it would bring the process near its limit of memory areas (vm.max_map_count).</summary>
    OverVmaBudget,

    /// <summary>The page belongs to the thread that runs the merge program (its thread area); another time.</summary>
    ThreadArea,

    /// <summary>Resharing is not safe here: the process has descriptors that may write memory by themselves
    /// (asynchronous I/O, virtual machines, RDMA).</summary>
    AsyncWriters,

    /// <summary>
    /// The process could not be stopped in time (in vfork, in uninterruptible sleep); nothing was done.
    /// </summary>
    TargetBusy,

    /// <summary>The process has exited or executed another program.</summary>
    TargetGone,

    /// <summary>The kernel refused for another reason; nothing was changed.</summary>
    Refused,
}

/// <summary>
/// A run of consecutive pages that go to (or come from) consecutive slots at once. 32 bytes.
/// </summary>
public struct MergePlan
{
    /// <summary>First page number.</summary>
    public ulong Start;

    /// <summary>Number of pages, at least 1.</summary>
    public uint Count;

    /// <summary>Slot of the first page; unused for <see cref="PlanKind.Zero"/>.</summary>
    public uint Slot;

    /// <summary>What to do.</summary>
    public PlanKind Kind;

    /// <summary>Result.</summary>
    public PlanOutcome Outcome;

    /// <summary>How many pages from the start were done; the pages after the failing one were not tried.</summary>
    public uint DonePages;
}
