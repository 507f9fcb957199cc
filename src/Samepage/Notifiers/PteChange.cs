namespace Samepage;

/// <summary>What happened to the page-table entries a <see cref="PteChange"/> speaks of.</summary>
public enum MmuEvent : byte
{
    /// <summary>
    /// KSM's replace_page: private pages were replaced by shared ones with the same bytes, mapped read-only.
    /// </summary>
    Shared,

    /// <summary>
    /// A write broke the sharing: a private, writable copy stands where the shared page was (copy-on-write).
    /// </summary>
    Broken,

    /// <summary>The sharing was ended on purpose (un-merge): private pages with the same bytes.</summary>
    Unshared,

    /// <summary>All-zero private pages were taken away; the kernel's zero page is mapped, read-only.</summary>
    Zeroed,

    /// <summary>KSM's page_wrprotect: the same pages as before, read-only from now on.</summary>
    WriteProtected,
}

/// <summary>
/// New entries of a page table, as <see cref="IMmuNotifier.ChangePte"/> is told of them. Spans of consecutive pages
/// that change in the same way, to consecutive places of one store, are one change.
/// </summary>
/// <param name="Address">First byte address, a multiple of <see cref="PageSize.Bytes"/>.</param>
/// <param name="Length">Bytes, a multiple of <see cref="PageSize.Bytes"/>, at least one page.</param>
/// <param name="Kind">What happened.</param>
/// <param name="Store">Trust domain whose store holds the new page (<see cref="IPageStore.Domain"/>); null when the new
/// page is not a store's (all kinds but <see cref="MmuEvent.Shared"/>).</param>
/// <param name="StoreOffset">Byte offset of the first page in that store; 0 without a store.</param>
/// <param name="Frame">Number of the first new page frame where the machine knows it (the simulated one does); else
/// 0.</param>
public readonly record struct PteChange(
    ulong Address, ulong Length, MmuEvent Kind, string? Store = null, ulong StoreOffset = 0, ulong Frame = 0)
{
    /// <summary>Byte address after the last.</summary>
    public ulong End => Address + Length;

    /// <summary>True when the new entries allow writing: a private page of this address space.</summary>
    public bool IsWritable => Kind is MmuEvent.Broken or MmuEvent.Unshared;
}
