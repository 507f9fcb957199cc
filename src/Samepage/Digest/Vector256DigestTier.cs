using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Samepage;

/// <summary>The digest with AVX2: two vectors of four lanes.</summary>
internal sealed class Vector256DigestTier(ulong seed) : DigestTier(seed)
{
    private const int PerStripe = Xxh3.StripeBytes / 32;
    private const int PerBlock = Xxh3.StripesPerBlock * PerStripe;
    private const int Unrolled = 8;

    // Behind each other: for the stripes of every block but the last, for those of the last, for scrambling.
    private const int LastBlockKeys = PerBlock;
    private const int ScrambleKeys = 2 * PerBlock;

    // Which 64 bytes of the secret go with which stripe, spread out once so that the loop just walks along.
    private readonly Vector256<ulong>[] _keys = Spread(Xxh3.DeriveSecret(seed));

    /// <inheritdoc/>
    // Tiered compilation would leave the first calls, and a long one, in unoptimised code (measured: half the speed).
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Digest(ReadOnlySpan<byte> pages, Span<UInt128> digests)
    {
        for (var i = 0; i < digests.Length; i++)
        {
            var page = pages.Slice(i * PageSize.Bytes, PageSize.Bytes);
            digests[i] = Digest(MemoryMarshal.Cast<byte, Vector256<ulong>>(page), _keys, MergeKeys);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static UInt128 Digest(
        ReadOnlySpan<Vector256<ulong>> page, ReadOnlySpan<Vector256<ulong>> keys, ReadOnlySpan<ulong> mergeKeys)
    {
        Span<ulong> lanes = stackalloc ulong[Xxh3.Lanes];
        Xxh3.InitialAccumulators.CopyTo(lanes);
        var accumulators = MemoryMarshal.Cast<ulong, Vector256<ulong>>(lanes);
        var a = accumulators[0];
        var b = accumulators[1];
        for (var block = 0; block < Xxh3.Blocks; block++)
        {
            var isLast = block == Xxh3.Blocks - 1;
            var data = page.Slice(block * PerBlock, PerBlock);
            var with = keys.Slice(isLast ? LastBlockKeys : 0, PerBlock);
            while (data.Length >= Unrolled && with.Length >= Unrolled)
            {
                a = TakeIn(a, data[0], with[0]);
                b = TakeIn(b, data[1], with[1]);
                a = TakeIn(a, data[2], with[2]);
                b = TakeIn(b, data[3], with[3]);
                a = TakeIn(a, data[4], with[4]);
                b = TakeIn(b, data[5], with[5]);
                a = TakeIn(a, data[6], with[6]);
                b = TakeIn(b, data[7], with[7]);
                data = data[Unrolled..];
                with = with[Unrolled..];
            }

            if (!isLast)
            {
                var scramble = keys.Slice(ScrambleKeys, PerStripe);
                a = Scramble(a, scramble[0]);
                b = Scramble(b, scramble[1]);
            }
        }

        accumulators[0] = a;
        accumulators[1] = b;
        return Xxh3.Finish(lanes, mergeKeys);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> TakeIn(Vector256<ulong> accumulator, Vector256<ulong> data, Vector256<ulong> key)
    {
        // 0x4E swaps the 64-bit halves of each 128 bits: data goes to the neighbour lane.
        var keyed = data ^ key;
        var product = Avx2.Multiply(keyed.AsUInt32(), (keyed >>> 32).AsUInt32());
        return accumulator + (Avx2.Shuffle(data.AsUInt32(), 0x4E).AsUInt64() + product);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ulong> Scramble(Vector256<ulong> accumulator, Vector256<ulong> key)
    {
        var prime = Vector256.Create((uint)Xxh3.Prime32A);
        var value = accumulator ^ (accumulator >>> 47) ^ key;
        var low = Avx2.Multiply(value.AsUInt32(), prime);
        var high = Avx2.Multiply((value >>> 32).AsUInt32(), prime);
        return low + (high << 32);
    }

    private static Vector256<ulong>[] Spread(byte[] secret)
    {
        var keys = new Vector256<ulong>[ScrambleKeys + PerStripe];
        var bytes = MemoryMarshal.AsBytes(keys.AsSpan());
        for (var stripe = 0; stripe < Xxh3.StripesPerBlock; stripe++)
        {
            var isLast = stripe == Xxh3.StripesPerBlock - 1;
            Copy(stripe * Xxh3.SecretStep, stripe * PerStripe, bytes);
            Copy(
                isLast ? Xxh3.LastStripeOffset : stripe * Xxh3.SecretStep,
                LastBlockKeys + (stripe * PerStripe),
                bytes);
        }

        Copy(Xxh3.ScrambleOffset, ScrambleKeys, bytes);
        return keys;

        void Copy(int offset, int key, Span<byte> to) =>
            secret.AsSpan(offset, Xxh3.StripeBytes).CopyTo(to[(key * (Xxh3.StripeBytes / PerStripe))..]);
    }
}
