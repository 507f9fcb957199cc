using System.Runtime.Intrinsics.X86;

namespace Samepage;

/// <summary>
/// The registry of tiers, best first. A 512-bit tier was measured and left out: no gain over 256 bits from memory.
/// </summary>
internal static class DigestTiers
{
    /// <summary>Environment variable that forces a tier by name, for tests and benchmarks.</summary>
    public const string Variable = "SAMEPAGE_DIGEST";

    private static readonly Entry[] Known =
    [
        new("vector256", Avx2.IsSupported, seed => new Vector256DigestTier(seed)),
        new("vector128", Sse2.IsSupported, seed => new Vector128DigestTier(seed)),
        new("scalar", true, seed => new ScalarDigestTier(seed)),
    ];

    /// <summary>Names of the tiers this processor can run, best first.</summary>
    public static IReadOnlyList<string> Available { get; } =
        [.. Known.Where(entry => entry.IsSupported).Select(entry => entry.Name)];

    /// <summary>The tier of that name, or else the one the environment names, or else the best.</summary>
    /// <exception cref="ArgumentException">There is no such tier, or this processor cannot run it.</exception>
    public static (string Name, DigestTier Tier) Create(ulong seed, string? name)
    {
        var wanted = name ?? Environment.GetEnvironmentVariable(Variable);
        if (string.IsNullOrEmpty(wanted))
        {
            wanted = Available[0];
        }

        var entry = Array.Find(Known, known => known.IsSupported && known.Name == wanted) ??
            throw new ArgumentException(
                $"no digest tier '{wanted}' on this processor; available: {string.Join(", ", Available)}");
        return (entry.Name, entry.Create(seed));
    }

    private sealed record Entry(string Name, bool IsSupported, Func<ulong, DigestTier> Create);
}
