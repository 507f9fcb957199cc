using System.Text.Json.Serialization;

namespace Samepage;

/// <summary>
/// What happened to pages of one process, as /v1/targets/{pid}/events reports it. Sequence numbers rise by one; a jump
/// only comes with a gap event that says what is missing.
/// </summary>
public sealed record PageEventDocument
{
    /// <summary>
    /// Number of the event in the process's stream. Of "listening": of the last event before; of "gap": of the last
    /// one missed.
    /// </summary>
    public required long Sequence { get; init; }

    /// <summary>
    /// "listening" (once, first; nothing is missed from here on), "shared", "zeroed", "broken", "unshared",
    /// "invalidate_start", "invalidate_end", "gap", or "released" (once, last).
    /// </summary>
    public required string Kind { get; init; }

    /// <summary>First byte address.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong Address { get; init; }

    /// <summary>Bytes; a multiple of 4096.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ulong Length { get; init; }

    /// <summary>Of "shared": the trust domain whose store holds the pages.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Store { get; init; }

    /// <summary>Of "shared": byte offset of the first page in the store.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ulong? StoreOffset { get; init; }

    /// <summary>Of "gap": what this reader, who did not keep up, has not been told.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public MissedDocument? Missed { get; init; }
}

/// <summary>What a reader who did not keep up has missed.</summary>
public sealed record MissedDocument
{
    /// <summary>Events.</summary>
    public required long Events { get; init; }

    /// <summary>Pages of missed "shared" and "zeroed" events.</summary>
    public required long PagesShared { get; init; }

    /// <summary>Pages of missed "broken" and "unshared" events.</summary>
    public required long PagesUnshared { get; init; }

    /// <summary>Pages of missed "invalidate_start" events.</summary>
    public required long PagesInvalidated { get; init; }
}

/// <summary>Which pages of a process are shared at one moment.</summary>
public sealed record PagesDocument
{
    /// <summary>Process id.</summary>
    public required int Pid { get; init; }

    /// <summary>
    /// The last event of the process's stream that is already in this picture; later ones change it.
    /// </summary>
    public required long Sequence { get; init; }

    /// <summary>Shared pages in address order, consecutive ones put together.</summary>
    public required IReadOnlyList<SharedRunDocument> Shared { get; init; }
}

/// <summary>Consecutive shared pages.</summary>
/// <param name="Address">First byte address.</param>
/// <param name="Length">Bytes; a multiple of 4096.</param>
/// <param name="Store">Trust domain whose store holds them.</param>
/// <param name="StoreOffset">Byte offset of the first page in the store.</param>
public sealed record SharedRunDocument(ulong Address, ulong Length, string Store, ulong StoreOffset);
