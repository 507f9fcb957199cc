namespace Samepage;

/// <summary>What one synchronous merge did.</summary>
/// <param name="PagesMerged">Pages that are mapped from a store now and were not before.</param>
/// <param name="ZeroPages">All-zero pages taken away.</param>
/// <param name="BytesSaved">Memory the merge gave back: bytes saved after it minus before it, at least 0.</param>
/// <param name="Elapsed">Wall time.</param>
/// <param name="CpuTime">CPU time of engine and machine.</param>
/// <param name="Complete">False when it was cancelled before nothing was left to merge.</param>
/// <param name="Targets">The same by target, in order of registration; targets with nothing done too.</param>
public sealed record MergeReport(
    long PagesMerged,
    long ZeroPages,
    long BytesSaved,
    TimeSpan Elapsed,
    TimeSpan CpuTime,
    bool Complete,
    IReadOnlyList<TargetMergeReport> Targets);

/// <summary>What one synchronous merge did to one target.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Name">Short name of the process.</param>
/// <param name="PagesMerged">Pages newly mapped from the store.</param>
/// <param name="ZeroPages">All-zero pages taken away.</param>
/// <param name="BytesSaved">Growth of the target's part of the saving (see <see
/// cref="TargetStatus.BytesSaved"/>).</param>
public sealed record TargetMergeReport(int Pid, string Name, long PagesMerged, long ZeroPages, long BytesSaved);

/// <summary>What an un-merge did.</summary>
/// <param name="PagesUnmerged">Pages that got their private copy back.</param>
/// <param name="PagesLeft">Pages that are still mapped from a store because the machine could not change them.</param>
/// <param name="Elapsed">Wall time.</param>
/// <param name="Complete">False when it was cancelled or pages are left.</param>
/// <param name="Left">Pages left by reason.</param>
public sealed record UnmergeReport(
    long PagesUnmerged,
    long PagesLeft,
    TimeSpan Elapsed,
    bool Complete,
    IReadOnlyDictionary<NotMergedReason, long> Left);

/// <summary>How far a long request has come.</summary>
/// <param name="Phase">"scan", "merge" or "unmerge".</param>
/// <param name="PagesDone">Pages passed so far in this phase.</param>
/// <param name="PagesTotal">Pages to pass; may grow a little while it runs.</param>
public readonly record struct EngineProgress(string Phase, long PagesDone, long PagesTotal);
