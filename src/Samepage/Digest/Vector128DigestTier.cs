using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Samepage;

/// <summary>The digest with SSE2: four vectors of two lanes.</summary>
internal sealed class Vector128DigestTier(ulong seed) : DigestTier(seed)
{
    private const int PerStripe = Xxh3.StripeBytes / 16;
    private const int PerBlock = Xxh3.StripesPerBlock * PerStripe;
    private const int Unrolled = 8;

    // Behind each other: for the stripes of every block but the last, for those of the last, for scrambling.
    private const int LastBlockKeys = PerBlock;
    private const int ScrambleKeys = 2 * PerBlock;

    // Which 64 bytes of the secret go with which stripe, spread out once so that the loop just walks along.
    private readonly Vector128<ulong>[] _keys = Spread(Xxh3.DeriveSecret(seed));

    /// <inheritdoc/>
    // Tiered compilation would leave the first calls, and a long one, in unoptimised code (measured: half the speed).
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Digest(ReadOnlySpan<byte> pages, Span<UInt128> digests)
    {
        for (var i = 0; i < digests.Length; i++)
        {
            var page = pages.Slice(i * PageSize.Bytes, PageSize.Bytes);
            digests[i] = Digest(MemoryMarshal.Cast<byte, Vector128<ulong>>(page), _keys, MergeKeys);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static UInt128 Digest(
        ReadOnlySpan<Vector128<ulong>> page, ReadOnlySpan<Vector128<ulong>> keys, ReadOnlySpan<ulong> mergeKeys)
    {
        Span<ulong> lanes = stackalloc ulong[Xxh3.Lanes];
        Xxh3.InitialAccumulators.CopyTo(lanes);
        var accumulators = MemoryMarshal.Cast<ulong, Vector128<ulong>>(lanes);
        var a = accumulators[0];
        var b = accumulators[1];
        var c = accumulators[2];
        var d = accumulators[3];
        for (var block = 0; block < Xxh3.Blocks; block++)
        {
            var isLast = block == Xxh3.Blocks - 1;
            var data = page.Slice(block * PerBlock, PerBlock);
            var with = keys.Slice(isLast ? LastBlockKeys : 0, PerBlock);
            while (data.Length >= Unrolled && with.Length >= Unrolled)
            {
                a = TakeIn(a, data[0], with[0]);
                b = TakeIn(b, data[1], with[1]);
                c = TakeIn(c, data[2], with[2]);
                d = TakeIn(d, data[3], with[3]);
                a = TakeIn(a, data[4], with[4]);
                b = TakeIn(b, data[5], with[5]);
                c = TakeIn(c, data[6], with[6]);
                d = TakeIn(d, data[7], with[7]);
                data = data[Unrolled..];
                with = with[Unrolled..];
            }

            if (!isLast)
            {
                var scramble = keys.Slice(ScrambleKeys, PerStripe);
                a = Scramble(a, scramble[0]);
                b = Scramble(b, scramble[1]);
                c = Scramble(c, scramble[2]);
                d = Scramble(d, scramble[3]);
            }
        }

        accumulators[0] = a;
        accumulators[1] = b;
        accumulators[2] = c;
        accumulators[3] = d;
        return Xxh3.Finish(lanes, mergeKeys);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> TakeIn(Vector128<ulong> accumulator, Vector128<ulong> data, Vector128<ulong> key)
    {
        // 0x4E swaps the 64-bit halves: data goes to the neighbour lane.
        var keyed = data ^ key;
        var product = Sse2.Multiply(keyed.AsUInt32(), (keyed >>> 32).AsUInt32());
        return accumulator + (Sse2.Shuffle(data.AsUInt32(), 0x4E).AsUInt64() + product);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Scramble(Vector128<ulong> accumulator, Vector128<ulong> key)
    {
        var prime = Vector128.Create((uint)Xxh3.Prime32A);
        var value = accumulator ^ (accumulator >>> 47) ^ key;
        var low = Sse2.Multiply(value.AsUInt32(), prime);
        var high = Sse2.Multiply((value >>> 32).AsUInt32(), prime);
        return low + (high << 32);
    }

    private static Vector128<ulong>[] Spread(byte[] secret)
    {
        var keys = new Vector128<ulong>[ScrambleKeys + PerStripe];
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
