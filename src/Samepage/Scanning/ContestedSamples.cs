using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>
/// A set of samples that never forgets one and sometimes believes to have one it has not: a blocked Bloom filter (Putze,
/// Sanders, Singler, 2007) with blocks of 64 bytes, 10 bits and 5 probes for each sample, in levels of growing size. One
/// in about a hundred strangers is taken for a member at each full level.
/// </summary>
internal sealed class ContestedSamples
{
    private const int BlockWords = 8;
    private const int BitsPerSample = 10;
    private const int Probes = 5;
    private const long FirstBytes = 8 << 10;

    // Each level is that much larger than all before it, so that there are few to look at.
    private const int Growth = 3;

    private readonly List<ulong[]> _levels = [];
    private long _room;

    /// <summary>Memory in use.</summary>
    public long Bytes { get; private set; }

    /// <summary>True once there was no room for a sample: the set is not to be used.</summary>
    public bool IsOverflown { get; private set; }

    /// <summary>True when the sample was added, and rarely when it was not. Always when the set is overflown.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool MayHave(ulong sample)
    {
        if (_levels.Count == 0)
        {
            return IsOverflown;
        }

        return IsInLevels(Mix(sample));
    }

    /// <summary>Adds a sample.</summary>
    /// <returns>False when there is no room: the set has to <see cref="Grow"/> first.</returns>
    public bool TryAdd(ulong sample)
    {
        ulong hash = Mix(sample);
        if (IsOverflown || IsInLevels(hash))
        {
            return true;
        }

        if (_room == 0)
        {
            return false;
        }

        _room--;
        Span<ulong> block = BlockOf(_levels[^1], hash);
        ulong bits = Bits(hash);
        for (int i = 0; i < Probes; i++, bits >>= 9)
        {
            block[(int)((bits >> 6) & (BlockWords - 1))] |= 1UL << (int)bits;
        }

        return true;
    }

    /// <summary>Makes room for more samples. The set is <see cref="IsOverflown"/> when it would need more memory than it may
    /// have.</summary>
    public void Grow(long bytesMax)
    {
        long bytes = Math.Min(Math.Max(FirstBytes, Bytes * Growth), bytesMax - Bytes) & ~63L;
        if (bytes < FirstBytes)
        {
            Clear();
            IsOverflown = true;
            return;
        }

        _levels.Add(new ulong[bytes / sizeof(ulong)]);
        Bytes += bytes;
        _room = bytes * 8 / BitsPerSample;
    }

    /// <summary>Empties the set.</summary>
    public void Clear()
    {
        _levels.Clear();
        Bytes = 0;
        _room = 0;
        IsOverflown = false;
    }

    private bool IsInLevels(ulong hash)
    {
        foreach (ulong[] level in _levels)
        {
            Span<ulong> block = BlockOf(level, hash);
            ulong bits = Bits(hash);
            ulong all = ulong.MaxValue;
            for (int i = 0; i < Probes; i++, bits >>= 9)
            {
                all &= block[(int)((bits >> 6) & (BlockWords - 1))] >> (int)bits;
            }

            if ((all & 1) != 0)
            {
                return true;
            }
        }

        return false;
    }

    private static Span<ulong> BlockOf(ulong[] level, ulong hash) =>
        level.AsSpan((int)(((hash >> 32) * (ulong)(level.Length / BlockWords)) >> 32) * BlockWords, BlockWords);

    // Nine bits for each probe, and independent of those that chose the block.
    private static ulong Bits(ulong hash) => hash * 0xC4CEB9FE1A85EC53 >> 16;

    private static ulong Mix(ulong sample)
    {
        ulong hash = sample * 0xFF51AFD7ED558CCD;
        return hash ^ (hash >> 29);
    }
}
