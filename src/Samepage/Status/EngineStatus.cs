namespace Samepage;

/// <summary>
/// A snapshot of the engine's counters. Those that KSM has too have KSM's meaning of today
/// (Documentation/admin-guide/mm/ksm.rst), counted over all domains.
/// </summary>
public sealed record EngineStatus
{
    /// <summary>The run knob: 0 stopped, 1 scanning, 2 stopped and un-merged.</summary>
    public required int Run { get; init; }

    /// <summary>How often all registered memory has been gone through.</summary>
    public required long FullScans { get; init; }

    /// <summary>Visits of pages: changed pages that were read, and pages decided about after their wait.
    /// Pages that nobody wrote are not visited and not counted.</summary>
    public required long PagesScanned { get; init; }

    /// <summary>Tries that smart_scan saved: pages that failed to merge and were left out of a pass.</summary>
    public required long PagesSkipped { get; init; }

    /// <summary>Contents that have more than one mapped store page in their domain.</summary>
    public required long StableNodeChains { get; init; }

    /// <summary>Mapped store pages of such contents.</summary>
    public required long StableNodeDups { get; init; }

    /// <summary>Bytes of the records of pages that are known now: what KSM's general_profit takes off. Tables that are
    /// there whatever is known are not in it, but in <see cref="MetadataBytes"/>.</summary>
    public required long PageRecordBytes { get; init; }

    /// <summary>Store pages with at least one mapping.</summary>
    public required long PagesShared { get; init; }

    /// <summary>Mappings of store pages beyond the first of each: how many pages are saved.</summary>
    public required long PagesSharing { get; init; }

    /// <summary>Pages whose content nobody else has, held in the unstable tree.</summary>
    public required long PagesUnshared { get; init; }

    /// <summary>
    /// Known pages in no tree: they change too fast, wait for their second visit, or cannot be merged now.
    /// </summary>
    public required long PagesVolatile { get; init; }

    /// <summary>All-zero pages taken away and not written since.</summary>
    public required long ZeroPages { get; init; }

    /// <summary>(<see cref="PagesSharing"/> + <see cref="ZeroPages"/>) pages in bytes.</summary>
    public required long BytesSaved { get; init; }

    /// <summary>Memory of the engine's own tables, by which the saving is dearer than it looks.</summary>
    public required long MetadataBytes { get; init; }

    /// <summary>
    /// <see cref="BytesSaved"/> minus <see cref="MetadataBytes"/>; negative when merging does not pay.
    /// </summary>
    public long ProfitBytes => BytesSaved - MetadataBytes;

    /// <summary>Store pages that hold content, mapped or not (what max_kernel_pages limits).</summary>
    public required long StorePages { get; init; }

    /// <summary>CPU time of engine and machine so far.</summary>
    public required TimeSpan CpuTime { get; init; }

    /// <summary>Pages that may be merged at all, present or not.</summary>
    public required long RegisteredPages { get; init; }

    /// <summary>Pages that are not merged, by reason; reasons without pages are left out.</summary>
    public required IReadOnlyDictionary<NotMergedReason, long> NotMerged { get; init; }

    /// <summary>The same by trust domain, in order of first use.</summary>
    public required IReadOnlyList<DomainStatus> Domains { get; init; }
}

/// <summary>Counters of one trust domain.</summary>
/// <param name="Name">Name of the domain.</param>
/// <param name="Targets">Registered targets in it.</param>
/// <param name="PagesShared">Store pages with at least one mapping.</param>
/// <param name="PagesSharing">Further mappings.</param>
/// <param name="PagesUnshared">Pages in the unstable tree.</param>
/// <param name="PagesVolatile">Known pages in no tree.</param>
/// <param name="ZeroPages">All-zero pages taken away.</param>
/// <param name="StorePages">Store pages that hold content, mapped or not.</param>
/// <param name="BytesSaved">(sharing + zero pages) in bytes.</param>
public sealed record DomainStatus(
    string Name,
    int Targets,
    long PagesShared,
    long PagesSharing,
    long PagesUnshared,
    long PagesVolatile,
    long ZeroPages,
    long StorePages,
    long BytesSaved);

/// <summary>Counters of one target.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Name">Short name of the process.</param>
/// <param name="Domain">Trust domain.</param>
/// <param name="IsAlive">False once it has exited or executed another program.</param>
/// <param name="Regions">Spans under care (mergeable and inside the registered ranges).</param>
/// <param name="RegisteredPages">Pages in these spans, present or not.</param>
/// <param name="PresentPages">Pages seen in them and not known to have gone.</param>
/// <param name="MergedPages">Pages mapped from the store.</param>
/// <param name="ZeroPages">All-zero pages taken away and not written since.</param>
/// <param name="PagesUnshared">Pages in the unstable tree.</param>
/// <param name="PagesVolatile">Known pages in no tree.</param>
/// <param name="BytesSaved">The target's part of the saving: of a store page that n pages map, each saves 1 - 1/n
/// pages, so that the parts of all targets add up to the total (as PSS does).</param>
/// <param name="Vmas">Virtual memory areas of the process.</param>
/// <param name="NotMerged">Pages not merged, by reason; reasons without pages are left out.</param>
public sealed record TargetStatus(
    int Pid,
    string Name,
    string Domain,
    bool IsAlive,
    int Regions,
    long RegisteredPages,
    long PresentPages,
    long MergedPages,
    long ZeroPages,
    long PagesUnshared,
    long PagesVolatile,
    long BytesSaved,
    int Vmas,
    IReadOnlyDictionary<NotMergedReason, long> NotMerged);
