using System.Text.Json.Serialization;

namespace Samepage.Daemon.Loop;

/// <summary>What the daemon saves across its own death.</summary>
public sealed record SavedState
{
    /// <summary>Knobs by name.</summary>
    public required IReadOnlyDictionary<string, string> Knobs { get; init; }

    /// <summary>Attached processes.</summary>
    public required IReadOnlyList<SavedTarget> Targets { get; init; }
}

/// <summary>One saved registration; the start time tells the process from a later one with the same pid.</summary>
public sealed record SavedTarget(
    int Pid, ulong StartTime, string Domain, IReadOnlyList<string>? Ranges, bool FollowChildren);

/// <summary>Generated serialisation of the saved state, in snake_case.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(SavedState))]
internal sealed partial class SavedStateJson : JsonSerializerContext;
