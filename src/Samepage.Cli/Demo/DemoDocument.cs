using System.Text.Json.Serialization;

namespace Samepage.Cli.Demo;

/// <summary>What <c>samepage demo --json</c> prints. Names are a contract with other tools.</summary>
internal sealed record DemoDocument
{
    /// <summary>Number of processes.</summary>
    public required int Processes { get; init; }

    /// <summary>Memory each of them filled.</summary>
    public required int Mebibytes { get; init; }

    /// <summary>Sum of the kernel's PSS before anything was merged.</summary>
    public required long PssBeforeBytes { get; init; }

    /// <summary>The same after merging.</summary>
    public required long PssAfterBytes { get; init; }

    /// <summary>The same after every process has written, and all was merged again.</summary>
    public required long PssAfterWritesBytes { get; init; }

    /// <summary>Store pages in use after the first merge.</summary>
    public required long PagesShared { get; init; }

    /// <summary>Pages that use them beyond the first.</summary>
    public required long PagesSharing { get; init; }

    /// <summary>Zero pages taken away.</summary>
    public required long ZeroPages { get; init; }

    /// <summary>From the first attach until nothing was left to merge.</summary>
    public required double ElapsedSeconds { get; init; }

    /// <summary>CPU time of the daemon in that span.</summary>
    public required double CpuSeconds { get; init; }

    /// <summary>
    /// True only if every process has found every byte right: merged, written, merged again and detached.
    /// </summary>
    public required bool Verified { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(DemoDocument))]
internal sealed partial class DemoJson : JsonSerializerContext;
