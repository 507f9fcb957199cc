namespace Samepage;

/// <summary>
/// Digests of pages: XXH3 with 128 bits and a secret seed, so that a process cannot make pages whose digests collide.
/// A digest only filters; bytes are compared before anything is merged. Thread-safe; no call allocates.
/// </summary>
public sealed class PageDigester
{
    private readonly DigestTier _tier;

    private PageDigester(string name, DigestTier tier)
    {
        Tier = name;
        _tier = tier;
    }

    /// <summary>Names of the implementations this processor can run, fastest first.</summary>
    public static IReadOnlyList<string> AvailableTiers => DigestTiers.Available;

    /// <summary>Name of the implementation in use.</summary>
    public string Tier { get; }

    /// <summary>A digester for a seed.</summary>
    /// <param name="seed">Digests of different seeds have nothing to do with each other.</param>
    /// <param name="tier">
    /// Implementation to use, one of <see cref="AvailableTiers"/>; null: what the environment variable
    /// <c>SAMEPAGE_DIGEST</c> names, or else the fastest.
    /// </param>
    /// <exception cref="ArgumentException">This processor has no such implementation.</exception>
    public static PageDigester Create(ulong seed, string? tier = null)
    {
        var (name, implementation) = DigestTiers.Create(seed, tier);
        return new PageDigester(name, implementation);
    }

    /// <summary>The digest of one page.</summary>
    /// <exception cref="ArgumentException"><paramref name="page"/> is not 4096 bytes long.</exception>
    public UInt128 Digest(ReadOnlySpan<byte> page)
    {
        UInt128 digest = default;
        Digest(page, new Span<UInt128>(ref digest));
        return digest;
    }

    /// <summary>The digests of pages that lie one behind the other.</summary>
    /// <exception cref="ArgumentException">
    /// <paramref name="pages"/> is not exactly as many pages as <paramref name="digests"/> has room for.
    /// </exception>
    public void Digest(ReadOnlySpan<byte> pages, Span<UInt128> digests)
    {
        if (pages.Length != (long)digests.Length * PageSize.Bytes)
        {
            throw new ArgumentException(
                $"{pages.Length} bytes are not {digests.Length} pages of {PageSize.Bytes} bytes", nameof(pages));
        }

        _tier.Digest(pages, digests);
    }

    /// <summary>True when every byte is zero. Looks no further than the first that is not.</summary>
    public static bool IsZero(ReadOnlySpan<byte> page) => !page.ContainsAnyExcept((byte)0);
}
