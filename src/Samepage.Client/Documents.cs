using System.Text.Json.Serialization;

namespace Samepage;

/// <summary>What /v1/status and <c>samepage status --json</c> show. Names are a contract with other tools.</summary>
public sealed record StatusDocument
{
    /// <summary>KSM's run: 0 stopped, 1 merging, 2 stopped and everything un-merged.</summary>
    public required int Run { get; init; }

    /// <summary>Times all regions were scanned from end to end.</summary>
    public required long FullScans { get; init; }

    /// <summary>Pages looked at so far.</summary>
    public required long PagesScanned { get; init; }

    /// <summary>Store pages in use.</summary>
    public required long PagesShared { get; init; }

    /// <summary>Pages that use a store page beyond the first: what is saved.</summary>
    public required long PagesSharing { get; init; }

    /// <summary>Pages looked at that nobody equals so far.</summary>
    public required long PagesUnshared { get; init; }

    /// <summary>Pages that change too fast to be merged.</summary>
    public required long PagesVolatile { get; init; }

    /// <summary>Zero pages that were taken away.</summary>
    public required long ZeroPages { get; init; }

    /// <summary>Pages that may be merged at all, present or not.</summary>
    public required long RegisteredPages { get; init; }

    /// <summary>Store pages that hold content, mapped or not (what max_kernel_pages limits).</summary>
    public required long StorePages { get; init; }

    /// <summary>Memory saved: pages_sharing and zero_pages in bytes.</summary>
    public required long BytesSaved { get; init; }

    /// <summary>Memory for keeping account of pages.</summary>
    public required long MetadataBytes { get; init; }

    /// <summary>bytes_saved minus metadata_bytes; may be negative.</summary>
    public required long ProfitBytes { get; init; }

    /// <summary>CPU time the daemon has used.</summary>
    public required double CpuSeconds { get; init; }

    /// <summary>Pages that are not merged, by reason.</summary>
    public required IReadOnlyDictionary<string, long> NotMerged { get; init; }

    /// <summary>Trust domains.</summary>
    public required IReadOnlyList<DomainDocument> Domains { get; init; }

    /// <summary>How long targets were stopped.</summary>
    public required StopTimes StopTimes { get; init; }

    /// <summary>Number of attached processes.</summary>
    public required int Targets { get; init; }

    /// <summary>The daemon's process id.</summary>
    public required int Pid { get; init; }

    /// <summary>The daemon's version.</summary>
    public required string Version { get; init; }

    /// <summary>Seconds since the daemon started.</summary>
    public required double UptimeSeconds { get; init; }
}

/// <summary>One trust domain: pages are shared only inside it.</summary>
public sealed record DomainDocument
{
    /// <summary>Name.</summary>
    public required string Name { get; init; }

    /// <summary>Attached processes in it.</summary>
    public required int Targets { get; init; }

    /// <summary>Store pages in use.</summary>
    public required long PagesShared { get; init; }

    /// <summary>Pages that use a store page beyond the first.</summary>
    public required long PagesSharing { get; init; }

    /// <summary>Pages nobody in the domain equals so far.</summary>
    public required long PagesUnshared { get; init; }

    /// <summary>Pages that change too fast to be merged.</summary>
    public required long PagesVolatile { get; init; }

    /// <summary>Zero pages taken away.</summary>
    public required long ZeroPages { get; init; }

    /// <summary>Memory saved.</summary>
    public required long BytesSaved { get; init; }
}

/// <summary>All attached processes.</summary>
/// <param name="Targets">In order of registration.</param>
public sealed record TargetsDocument(IReadOnlyList<TargetDocument> Targets);

/// <summary>One attached process.</summary>
public sealed record TargetDocument
{
    /// <summary>Process id.</summary>
    public required int Pid { get; init; }

    /// <summary>Short name.</summary>
    public required string Name { get; init; }

    /// <summary>Trust domain.</summary>
    public required string Domain { get; init; }

    /// <summary>Number of spans that may be merged.</summary>
    public required int Regions { get; init; }

    /// <summary>Pages in those spans.</summary>
    public required long RegisteredPages { get; init; }

    /// <summary>Pages of them known to be present.</summary>
    public required long PresentPages { get; init; }

    /// <summary>Pages mapped from the store.</summary>
    public required long MergedPages { get; init; }

    /// <summary>Zero pages taken away.</summary>
    public required long ZeroPages { get; init; }

    /// <summary>Memory this process no longer needs for itself.</summary>
    public required long BytesSaved { get; init; }

    /// <summary>Virtual memory areas it has now.</summary>
    public required int Vmas { get; init; }

    /// <summary>Pages that are not merged, by reason.</summary>
    public required IReadOnlyDictionary<string, long> NotMerged { get; init; }

    /// <summary>True when its descendants are attached, too, as they appear.</summary>
    public required bool FollowChildren { get; init; }
}

/// <summary>Result of merging until nothing was left to merge.</summary>
public sealed record MergeDocument
{
    /// <summary>Pages merged into the store by this request.</summary>
    public required long PagesMerged { get; init; }

    /// <summary>Zero pages taken away by it.</summary>
    public required long ZeroPages { get; init; }

    /// <summary>Memory saved by it.</summary>
    public required long BytesSaved { get; init; }

    /// <summary>Wall time.</summary>
    public required double ElapsedSeconds { get; init; }

    /// <summary>CPU time of the daemon.</summary>
    public required double CpuSeconds { get; init; }

    /// <summary>False when it was cancelled before nothing was left to merge.</summary>
    public required bool Complete { get; init; }

    /// <summary>The same by process.</summary>
    public required IReadOnlyList<MergedTargetDocument> Targets { get; init; }
}

/// <summary>One process of a merge.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Name">Short name.</param>
/// <param name="PagesMerged">Pages of it newly mapped from the store.</param>
/// <param name="ZeroPages">Zero pages taken away from it.</param>
/// <param name="BytesSaved">Growth of its part of the saving.</param>
public sealed record MergedTargetDocument(int Pid, string Name, long PagesMerged, long ZeroPages, long BytesSaved);

/// <summary>Result of un-merging or detaching.</summary>
public sealed record UnmergeDocument
{
    /// <summary>Pages that became private again.</summary>
    public required long PagesUnmerged { get; init; }

    /// <summary>Wall time.</summary>
    public required double ElapsedSeconds { get; init; }

    /// <summary>Pages that are still merged because the process could not be changed; try again.</summary>
    public required long PagesLeft { get; init; }

    /// <summary>The processes.</summary>
    public required IReadOnlyList<UnmergedTargetDocument> Targets { get; init; }
}

/// <summary>One process of an un-merge.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Name">Short name.</param>
public sealed record UnmergedTargetDocument(int Pid, string Name);

/// <summary>All knobs.</summary>
/// <param name="Knobs">KSM's first.</param>
public sealed record KnobsDocument(IReadOnlyList<KnobDocument> Knobs);

/// <summary>One knob.</summary>
/// <param name="Name">KSM's name, or ours in KSM's manner.</param>
/// <param name="Value">As one would read it from KSM's file of that name.</param>
/// <param name="Default">Value nobody has changed.</param>
/// <param name="Values">What it can be, for people.</param>
/// <param name="Meaning">What it does, for people.</param>
public sealed record KnobDocument(string Name, string Value, string Default, string Values, string Meaning);

/// <summary>Body of PUT /v1/knobs/{name}.</summary>
public sealed record KnobBody
{
    /// <summary>New value as text, as one would write it to KSM's file of that name.</summary>
    public required string Value { get; init; }
}

/// <summary>All mounts of KSM's admin files.</summary>
internal sealed record MountsDocument(IReadOnlyList<MountDocument> Mounts);

/// <summary>One mount of KSM's admin files.</summary>
internal sealed record MountDocument
{
    /// <summary>v4, merged or modern.</summary>
    public required string View { get; init; }

    /// <summary>Where, if the daemon has mounted it.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Path { get; init; }

    /// <summary>The process that has mounted it, if another one has, in a mount namespace of its own.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? Pid { get; init; }
}

/// <summary>Body of POST /v1/mounts: a path, or a process and its descriptor.</summary>
internal sealed record MountBody
{
    /// <summary>v4 (April 2009), merged (Linux 2.6.32 as it was in June 2009) or modern (Linux 6.x).</summary>
    public required string View { get; init; }

    /// <summary>Directory to mount it at, absolute, in the daemon's mount namespace.</summary>
    public string? Path { get; init; }

    /// <summary>A process that has mounted it already.</summary>
    public int? Pid { get; init; }

    /// <summary>That process's descriptor of /dev/fuse; the process may close it after the answer.</summary>
    public int? Fd { get; init; }
}

/// <summary>Body of POST /v1/targets.</summary>
public sealed record AttachBody
{
    /// <summary>Process id.</summary>
    public required int Pid { get; init; }

    /// <summary>Trust domain; "uid:N" of the process's real user by default.</summary>
    public string? Domain { get; init; }

    /// <summary>Spans of addresses "start-end" in hexadecimal, page aligned; everything mergeable by default.</summary>
    public IReadOnlyList<string>? Ranges { get; init; }

    /// <summary>Attach its descendants, too, as they appear.</summary>
    public bool FollowChildren { get; init; }

    /// <summary>
    /// Attach when this connection closes: the caller is about to become the program that is meant (execve closes it).
    /// </summary>
    public bool AfterExec { get; init; }
}

/// <summary>Body of POST /v1/targets/{pid}/ranges.</summary>
public sealed record RangeBody
{
    /// <summary>Span of addresses "start-end" in hexadecimal, page aligned.</summary>
    public required string Range { get; init; }

    /// <summary>Trust domain; "uid:N" of the process's real user by default.</summary>
    public string? Domain { get; init; }
}

/// <summary>Body of POST /v1/merge and /v1/unmerge.</summary>
public sealed record SelectionBody
{
    /// <summary>Processes; all attached ones by default.</summary>
    public IReadOnlyList<int>? Pids { get; init; }
}

/// <summary>
/// One line of a streamed answer (Accept: application/x-ndjson): exactly one of the members is there.
/// </summary>
public sealed record StreamLine
{
    /// <summary>How far it has come.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ProgressDocument? Progress { get; init; }

    /// <summary>The result of a merge; last line.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public MergeDocument? Merged { get; init; }

    /// <summary>The result of an un-merge; last line.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public UnmergeDocument? Unmerged { get; init; }

    /// <summary>Why it failed; last line.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ProblemDocument? Problem { get; init; }
}

/// <summary>How far long work has come.</summary>
/// <param name="Phase">"scan", "merge" or "unmerge".</param>
/// <param name="PagesDone">Pages passed so far in this phase.</param>
/// <param name="PagesTotal">Pages to pass; may grow while it runs.</param>
public sealed record ProgressDocument(string Phase, long PagesDone, long PagesTotal);

/// <summary>Something that happened, as /v1/events reports it.</summary>
public sealed record EventDocument
{
    /// <summary>listening (once, first), attached, detached, exited, merged, unmerged or knob.</summary>
    public required string Kind { get; init; }

    /// <summary>When (UTC).</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>One line for people.</summary>
    public required string Text { get; init; }

    /// <summary>The process it is about.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? Pid { get; init; }
}

/// <summary>Problem details (RFC 9457) with the exit code of the command line.</summary>
public sealed record ProblemDocument
{
    /// <summary>Always about:blank: status and exit code tell the kinds apart.</summary>
    public string Type { get; init; } = "about:blank";

    /// <summary>Short name of the kind.</summary>
    public required string Title { get; init; }

    /// <summary>HTTP status.</summary>
    public required int Status { get; init; }

    /// <summary>The one line that says what is wrong and what to do.</summary>
    public required string Detail { get; init; }

    /// <summary>What the command line ends with.</summary>
    public required int ExitCode { get; init; }
}

/// <summary>Distribution of the times targets were stopped for a batch, in microseconds.</summary>
/// <param name="Count">Number of stops.</param>
/// <param name="P50Microseconds">Median.</param>
/// <param name="P99Microseconds">99th percentile.</param>
/// <param name="MaxMicroseconds">Longest stop.</param>
/// <param name="Buckets">Stops by upper bound, ascending; only buckets that are not empty.</param>
public sealed record StopTimes(
    long Count,
    double P50Microseconds,
    double P99Microseconds,
    double MaxMicroseconds,
    IReadOnlyList<StopTimesBucket> Buckets)
{
    /// <summary>No stop yet.</summary>
    public static StopTimes None { get; } = new(0, 0, 0, 0, []);
}

/// <summary>One bucket of <see cref="StopTimes"/>.</summary>
/// <param name="UpToMicroseconds">Upper bound, inclusive.</param>
/// <param name="Count">Stops that took at most this and more than the bound before.</param>
public sealed record StopTimesBucket(double UpToMicroseconds, long Count);

/// <summary>Generated serialisation of all documents, in snake_case.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(StatusDocument))]
[JsonSerializable(typeof(TargetsDocument))]
[JsonSerializable(typeof(MergeDocument))]
[JsonSerializable(typeof(UnmergeDocument))]
[JsonSerializable(typeof(KnobsDocument))]
[JsonSerializable(typeof(KnobBody))]
[JsonSerializable(typeof(MountsDocument))]
[JsonSerializable(typeof(MountBody))]
[JsonSerializable(typeof(AttachBody))]
[JsonSerializable(typeof(RangeBody))]
[JsonSerializable(typeof(SelectionBody))]
[JsonSerializable(typeof(StreamLine))]
[JsonSerializable(typeof(EventDocument))]
[JsonSerializable(typeof(PageEventDocument))]
[JsonSerializable(typeof(PagesDocument))]
[JsonSerializable(typeof(ProblemDocument))]
[JsonSerializable(typeof(RunBody))]
[JsonSerializable(typeof(RunsDocument))]
internal sealed partial class ApiJson : JsonSerializerContext;
