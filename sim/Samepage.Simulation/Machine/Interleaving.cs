namespace Samepage.Simulation;

/// <summary>A moment inside the machine's work for the engine at which other CPUs may run.</summary>
public enum SchedulingPoint
{
    /// <summary>Changed pages have been listed.</summary>
    Listed,

    /// <summary>Half of a page has been read.</summary>
    HalfRead,

    /// <summary>New pages lie in the store.</summary>
    StoreWritten,

    /// <summary>A plan is about to be executed.</summary>
    Planned,

    /// <summary>get_pte has found the entry and holds the frame.</summary>
    Found,

    /// <summary>Inside page_wrprotect, under the lock of the page table: only what needs no lock may run.</summary>
    Locked,

    /// <summary>All entries are write-protected.</summary>
    Protected,

    /// <summary>The bytes have been compared.</summary>
    Compared,

    /// <summary>The page has been replaced.</summary>
    Replaced,
}

/// <summary>Lets other CPUs run at such a moment.</summary>
public interface IInterleaver
{
    /// <summary>Called by the machine. May do anything to processes, nothing to the engine.</summary>
    /// <param name="point">Which moment.</param>
    /// <param name="process">The process at work on; null at <see cref="SchedulingPoint.StoreWritten"/>.</param>
    /// <param name="page">The page at work on, where it is one.</param>
    void At(SchedulingPoint point, SimulatedProcess? process, ulong page);
}

/// <summary>What can go wrong in the machine without being its fault, by name.</summary>
public enum MachineFault
{
    /// <summary>A page cannot be read.</summary>
    ReadFails,

    /// <summary>No memory for new store pages.</summary>
    StoreFull,

    /// <summary>The process cannot be stopped now.</summary>
    TargetBusy,

    /// <summary>The process would have too many areas.</summary>
    OverVmaBudget,

    /// <summary>The page belongs to the thread that would do it.</summary>
    ThreadArea,

    /// <summary>Something may write the process's memory by itself.</summary>
    AsyncWriters,

    /// <summary>Refused for another reason.</summary>
    Refused,

    /// <summary>The proof that nobody maps a slot does not succeed.</summary>
    ProofFails,
}
