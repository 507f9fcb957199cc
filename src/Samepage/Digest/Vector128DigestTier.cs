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
    private const int LastKey = PerBlock;
    private const int ScrambleKey = LastKey + PerStripe;

    // Which 64 bytes of the secret go with which stripe, spread out once, so that the loop loads them in order.
    private readonly Vector128<ulong>[] _keys = Spread(Xxh3.DeriveSecret(seed));

    /// <inheritdoc/>
    // Tiered compilation would leave the first calls, and one long call, in unoptimised code (measured: half the speed).
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Digest(ReadOnlySpan<byte> pages, Span<UInt128> digests)
    {
        for (var i = 0; i < digests.Length; i++)
        {
            var page = pages.Slice(i * PageSize.Bytes, PageSize.Bytes);
            digests[i] = Digest(MemoryMarshal.Cast<byte, Vector128<ulong>>(page), _keys, Secret);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static UInt128 Digest(
        ReadOnlySpan<Vector128<ulong>> page, ReadOnlySpan<Vector128<ulong>> keys, ReadOnlySpan<byte> secret)
    {
        Span<ulong> lanes = stackalloc ulong[Xxh3.Lanes];
        Xxh3.InitialAccumulators.CopyTo(lanes);
        var accumulators = MemoryMarshal.Cast<ulong, Vector128<ulong>>(lanes);
        var a = accumulators[0];
        var b = accumulators[1];
        var c = accumulators[2];
        var d = accumulators[3];
        for (var block = 0; block < Xxh3.Blocks - 1; block++)
        {
            var data = page.Slice(block * PerBlock, PerBlock);
            for (var i = 0; i < PerBlock; i += PerStripe)
            {
                a = TakeIn(a, data[i], keys[i]);
                b = TakeIn(b, data[i + 1], keys[i + 1]);
                c = TakeIn(c, data[i + 2], keys[i + 2]);
                d = TakeIn(d, data[i + 3], keys[i + 3]);
            }

            a = Scramble(a, keys[ScrambleKey]);
            b = Scramble(b, keys[ScrambleKey + 1]);
            c = Scramble(c, keys[ScrambleKey + 2]);
            d = Scramble(d, keys[ScrambleKey + 3]);
        }

        var last = page.Slice((Xxh3.Blocks - 1) * PerBlock, PerBlock);
        for (var i = 0; i < PerBlock - PerStripe; i += PerStripe)
        {
            a = TakeIn(a, last[i], keys[i]);
            b = TakeIn(b, last[i + 1], keys[i + 1]);
            c = TakeIn(c, last[i + 2], keys[i + 2]);
            d = TakeIn(d, last[i + 3], keys[i + 3]);
        }

        accumulators[0] = TakeIn(a, last[PerBlock - 4], keys[LastKey]);
        accumulators[1] = TakeIn(b, last[PerBlock - 3], keys[LastKey + 1]);
        accumulators[2] = TakeIn(c, last[PerBlock - 2], keys[LastKey + 2]);
        accumulators[3] = TakeIn(d, last[PerBlock - 1], keys[LastKey + 3]);
        return Xxh3.Finish(lanes, secret);
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
        var keys = new Vector128<ulong>[ScrambleKey + PerStripe];
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
