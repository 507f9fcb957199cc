namespace Samepage;

/// <summary>Why a page is not merged. The JSON name of each is its snake_case form.</summary>
public enum NotMergedReason : byte
{
    /// <summary>Locked in memory (VmFlags lo).</summary>
    Mlocked,

    /// <summary>A shared mapping (sh): its owner shares it already.</summary>
    Shared,

    /// <summary>Backed by a file.</summary>
    FileBacked,

    /// <summary>hugetlbfs (ht).</summary>
    HugePage,

    /// <summary>Special mapping: device, vdso, vsyscall, mixed map, shadow stack (io, pf, mm, de, ss).</summary>
    Special,

    /// <summary>The main thread's stack, or a mapping that grows down (gd).</summary>
    Stack,

    /// <summary>Not readable and writable: nothing to merge copy-on-write.</summary>
    NotWritable,

    /// <summary>
    /// Flags or policies that a replaced mapping would lose (wf, userfaultfd of somebody else, protection key).
    /// </summary>
    Protected,

    /// <summary>Outside the ranges that were asked for.</summary>
    NotRegistered,

    /// <summary>Pinned for direct or registered I/O, or still shared with a forked process.</summary>
    Pinned,

    /// <summary>Shared with a forked process, where that could be told from a pin.</summary>
    ForkShared,

    /// <summary>The process is near its limit of memory areas.</summary>
    OverVmaBudget,

    /// <summary>An equal page exists, but only in another trust domain.</summary>
    OtherDomain,

    /// <summary>max_kernel_pages reached: no new store page may be made.</summary>
    MaxKernelPages,

    /// <summary>Changed between being found equal and being stopped.</summary>
    ContentChanged,

    /// <summary>Belongs to the thread that would run the merge program.</summary>
    ThreadArea,

    /// <summary>
    /// Written after it was merged, and the process has descriptors that may write memory by themselves.
    /// </summary>
    AsyncWriters,

    /// <summary>The process could not be stopped in time.</summary>
    TargetBusy,

    /// <summary>Swapped out: waits until it comes back.</summary>
    Swapped,

    /// <summary>
    /// Last page of its mapping: kept private so that growing the mapping can never show a store page.
    /// </summary>
    MappingEnd,

    /// <summary>The kernel refused.</summary>
    Refused,
}
