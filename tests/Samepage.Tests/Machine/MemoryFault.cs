namespace Samepage.Tests;

/// <summary>What can go wrong on the simulated machine, by name.</summary>
public enum MemoryFault
{
    None,

    /// <summary>A read of the page sees the first half of it, and the second half of another time.</summary>
    TornRead,

    /// <summary>The page cannot be read, nor sampled.</summary>
    ReadFails,

    /// <summary>Sampling ends before this page.</summary>
    SamplingEnds,

    /// <summary>The process writes the page (new content) just before the plan with it is executed.</summary>
    WrittenBeforeExecute,

    /// <summary>The process drops the page (MADV_DONTNEED) just before the plan with it is executed.</summary>
    DroppedBeforeExecute,

    Pinned,
    OverVmaBudget,
    ThreadArea,
    AsyncWriters,
    Refused,

    /// <summary>The process cannot be stopped.</summary>
    TargetBusy,

    /// <summary>The process exits when it is to be stopped.</summary>
    TargetExits,

    /// <summary>No memory for new store pages.</summary>
    StoreFull,

    /// <summary>A broken machine: it does not compare before it merges. The checker has to notice.</summary>
    DoesNotCompare,

    /// <summary>A broken machine: it gives slots back that somebody still maps. The checker has to notice.</summary>
    ReclaimsMappedSlots,
}
