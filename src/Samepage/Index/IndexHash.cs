namespace Samepage;

/// <summary>
/// Where a key belongs. The highest bits choose the segment, the low 32 the group inside it, eight between them are
/// the tag; the three do not overlap, so they are independent.
/// </summary>
internal readonly struct IndexHash(ulong key)
{
    /// <summary>Tag of a place that was never used: a search ends in a group that has one.</summary>
    public const byte Empty = 0;

    /// <summary>Tag of a place whose entry was taken out of a full group: searches go on behind it.</summary>
    public const byte Erased = 1;

    /// <summary>Segments are chosen by at most this many bits.</summary>
    public const int MaxDepth = 24;

    // Keys of tests and simulations need not look random: the finaliser of MurmurHash3 (Austin Appleby, public domain).
    private readonly ulong _bits = Mix(key);

    /// <summary>What is kept of the key beside the id; neither <see cref="Empty"/> nor <see cref="Erased"/>.</summary>
    public byte Tag
    {
        get
        {
            var tag = (byte)(_bits >> 32);
            return tag > Erased ? tag : (byte)(tag + 128);
        }
    }

    /// <summary>Number of the segment when there are two to the power of <paramref name="depth"/>.</summary>
    public int Segment(int depth) => depth == 0 ? 0 : (int)(_bits >> (64 - depth));

    /// <summary>First group to look at.</summary>
    public int Group(int groups) => (int)(((ulong)(uint)_bits * (uint)groups) >> 32);

    private static ulong Mix(ulong key)
    {
        key ^= key >> 33;
        key *= 0xFF51AFD7ED558CCD;
        key ^= key >> 33;
        key *= 0xC4CEB9FE1A85EC53;
        return key ^ (key >> 33);
    }
}
