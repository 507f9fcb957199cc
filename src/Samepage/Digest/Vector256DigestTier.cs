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
    private const int LastKey = PerBlock;
    private const int ScrambleKey = LastKey + PerStripe;

    // Which 64 bytes of the secret go with which stripe, spread out once, so that the loop loads them in order.
    private readonly Vector256<ulong>[] _keys = Spread(Xxh3.DeriveSecret(seed));

    /// <inheritdoc/>
    // Tiered compilation would leave the first calls, and one long call, in unoptimised code (measured: half the speed).
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Digest(ReadOnlySpan<byte> pages, Span<UInt128> digests)
    {
        for (var i = 0; i < digests.Length; i++)
        {
            var page = pages.Slice(i * PageSize.Bytes, PageSize.Bytes);
            digests[i] = Digest(MemoryMarshal.Cast<byte, Vector256<ulong>>(page), _keys, Secret);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static UInt128 Digest(
        ReadOnlySpan<Vector256<ulong>> page, ReadOnlySpan<Vector256<ulong>> keys, ReadOnlySpan<byte> secret)
    {
        Span<ulong> lanes = stackalloc ulong[Xxh3.Lanes];
        Xxh3.InitialAccumulators.CopyTo(lanes);
        var accumulators = MemoryMarshal.Cast<ulong, Vector256<ulong>>(lanes);
        var a = accumulators[0];
        var b = accumulators[1];
        for (var block = 0; block < Xxh3.Blocks - 1; block++)
        {
            var data = page.Slice(block * PerBlock, PerBlock);
            for (var i = 0; i < PerBlock; i += PerStripe)
            {
                a = TakeIn(a, data[i], keys[i]);
                b = TakeIn(b, data[i + 1], keys[i + 1]);
            }

            a = Scramble(a, keys[ScrambleKey]);
            b = Scramble(b, keys[ScrambleKey + 1]);
        }

        var last = page.Slice((Xxh3.Blocks - 1) * PerBlock, PerBlock);
        for (var i = 0; i < PerBlock - PerStripe; i += PerStripe)
        {
            a = TakeIn(a, last[i], keys[i]);
            b = TakeIn(b, last[i + 1], keys[i + 1]);
        }

        accumulators[0] = TakeIn(a, last[PerBlock - 2], keys[LastKey]);
        accumulators[1] = TakeIn(b, last[PerBlock - 1], keys[LastKey + 1]);
        return Xxh3.Finish(lanes, secret);
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
        var keys = new Vector256<ulong>[ScrambleKey + PerStripe];
        var bytes = MemoryMarshal.AsBytes(keys.AsSpan());
        for (var stripe = 0; stripe < Xxh3.StripesPerBlock; stripe++)
        {
            Copy(stripe * Xxh3.SecretStep, stripe * PerStripe, bytes);
        }

        Copy(Xxh3.LastStripeOffset, LastKey, bytes);
        Copy(Xxh3.ScrambleOffset, ScrambleKey, bytes);
        return keys;

        void Copy(int offset, int key, Span<byte> to) =>
            secret.AsSpan(offset, Xxh3.StripeBytes).CopyTo(to[(key * (Xxh3.StripeBytes / PerStripe))..]);
    }
}
