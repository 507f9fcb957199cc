namespace Samepage;

/// <summary>One way to compute the page digest; all give the same result.</summary>
internal abstract class DigestTier
{
    /// <summary>A tier for a seed.</summary>
    protected DigestTier(ulong seed)
    {
        Secret = Xxh3.DeriveSecret(seed);
        MergeKeys = Xxh3.MergeKeys(Secret);
    }

    /// <summary>The secret of the seed.</summary>
    protected byte[] Secret { get; }

    /// <summary>What <see cref="Xxh3.Finish"/> needs of it.</summary>
    protected ulong[] MergeKeys { get; }

    /// <summary>Digests pages that lie one behind the other.</summary>
    /// <param name="pages">Exactly as many pages as there are digests.</param>
    /// <param name="digests">Receives the digests.</param>
    public abstract void Digest(ReadOnlySpan<byte> pages, Span<UInt128> digests);
}
