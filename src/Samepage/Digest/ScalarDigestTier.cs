using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>The specification the other tiers are tested against: lane after lane, every offset spelled out.</summary>
internal sealed class ScalarDigestTier(ulong seed) : DigestTier(seed)
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Digest(ReadOnlySpan<byte> pages, Span<UInt128> digests)
    {
        Span<ulong> accumulators = stackalloc ulong[Xxh3.Lanes];
        for (var i = 0; i < digests.Length; i++)
        {
            Xxh3.InitialAccumulators.CopyTo(accumulators);
            Accumulate(accumulators, pages.Slice(i * PageSize.Bytes, PageSize.Bytes), Secret);
            digests[i] = Xxh3.Finish(accumulators, MergeKeys);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Accumulate(Span<ulong> accumulators, ReadOnlySpan<byte> page, ReadOnlySpan<byte> secret)
    {
        const int stripes = Xxh3.Blocks * Xxh3.StripesPerBlock;
        for (var stripe = 0; stripe < stripes - 1; stripe++)
        {
            var inBlock = stripe % Xxh3.StripesPerBlock;
            TakeIn(accumulators, page[(stripe * Xxh3.StripeBytes)..], secret[(inBlock * Xxh3.SecretStep)..]);
            if (inBlock == Xxh3.StripesPerBlock - 1)
            {
                Scramble(accumulators, secret[Xxh3.ScrambleOffset..]);
            }
        }

        TakeIn(accumulators, page[^Xxh3.StripeBytes..], secret[Xxh3.LastStripeOffset..]);
    }

    private static void TakeIn(Span<ulong> accumulators, ReadOnlySpan<byte> stripe, ReadOnlySpan<byte> secret)
    {
        for (var lane = 0; lane < Xxh3.Lanes; lane++)
        {
            var data = BinaryPrimitives.ReadUInt64LittleEndian(stripe[(lane * sizeof(ulong))..]);
            var keyed = data ^ BinaryPrimitives.ReadUInt64LittleEndian(secret[(lane * sizeof(ulong))..]);
            accumulators[lane ^ 1] += data;
            accumulators[lane] += (ulong)(uint)keyed * (keyed >> 32);
        }
    }

    private static void Scramble(Span<ulong> accumulators, ReadOnlySpan<byte> secret)
    {
        for (var lane = 0; lane < Xxh3.Lanes; lane++)
        {
            var value = accumulators[lane];
            value ^= value >> 47;
            value ^= BinaryPrimitives.ReadUInt64LittleEndian(secret[(lane * sizeof(ulong))..]);
            accumulators[lane] = value * Xxh3.Prime32A;
        }
    }
}
