namespace Samepage.Simulation;

/// <summary>
/// Machines that are broken on purpose, each in one place. The checker has to catch every one: a checker that never
/// found anything proves nothing.
/// </summary>
public enum Mutant
{
    None,

    /// <summary>Pages are replaced without being compared: a digest is believed, or what was read before.</summary>
    NoCompare,

    /// <summary>Nothing is write-protected before the compare.</summary>
    NoWriteProtect,

    /// <summary>Compared first, write-protected then.</summary>
    CompareBeforeProtect,

    /// <summary>page_wrprotect counts references before it has cleared the entries: direct I/O slips in.</summary>
    CountBeforeClear,

    /// <summary>page_wrprotect does not look for extra references at all.</summary>
    IgnoredReference,

    /// <summary>page_wrprotect changes the entries and leaves the CPUs their translations.</summary>
    MissedFlushOnProtect,

    /// <summary>replace_page leaves the CPUs their translations.</summary>
    MissedFlushOnReplace,

    /// <summary>Copy-on-write leaves the other CPUs their translations of the shared page.</summary>
    MissedFlushOnBreak,

    /// <summary>replace_page tells no notifier.</summary>
    SkippedNotifierOnReplace,

    /// <summary>Copy-on-write tells no notifier.</summary>
    SkippedNotifierOnBreak,

    /// <summary>replace_page does not look whether the entry is still the expected one.</summary>
    ReplacedUnexpected,

    /// <summary>
    /// The address space is not locked while a page is looked at and replaced: a write and an mprotect between compare
    /// and replace leave the entry as it was expected.
    /// </summary>
    UnlockedReplace,

    /// <summary>The shared page is mapped writable.</summary>
    WritableShared,

    /// <summary>A store gives pages back that somebody still maps.</summary>
    ReclaimedMapped,

    /// <summary>fork does not write-protect what parent and child share.</summary>
    ForkWithoutProtect,

    /// <summary>Copy-on-write gives a page of zeros in place of a copy.</summary>
    BreakWithoutCopy,
}
