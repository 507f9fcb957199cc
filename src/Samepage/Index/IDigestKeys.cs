namespace Samepage;

/// <summary>Where a <see cref="DigestIndex"/> learns the keys, which it does not store.</summary>
internal interface IDigestKeys
{
    /// <summary>The key an id has now; 0 when it is no candidate any more, which makes its entries stale.</summary>
    ulong KeyOf(uint id);
}
