using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>
/// What all tiers of the digest share: XXH3-128 (Yann Collet, https://xxhash.com, BSD-2-Clause specification and
/// constants) for inputs above 240 bytes, narrowed to inputs of exactly one page.
/// </summary>
/// <remarks>
/// A page is 64 stripes of 64 bytes in 4 blocks of 16. Eight 64-bit accumulators take in one stripe after another, each
/// with 64 bytes of the secret that start 8 bytes further per stripe, and are scrambled after each block but the last.
/// The very last stripe has a place of its own in the secret. Two differently keyed merges give the two halves.
/// </remarks>
internal static class Xxh3
{
    public const int StripeBytes = 64;
    public const int StripesPerBlock = 16;
    public const int Blocks = PageSize.Bytes / (StripeBytes * StripesPerBlock);
    public const int Lanes = 8;
    public const int SecretBytes = 192;

    /// <summary>How far the secret moves on per stripe.</summary>
    public const int SecretStep = 8;

    /// <summary>Place in the secret for scrambling.</summary>
    public const int ScrambleOffset = SecretBytes - StripeBytes;

    /// <summary>Place in the secret for the last stripe of the input.</summary>
    public const int LastStripeOffset = SecretBytes - StripeBytes - 7;

    public const ulong Prime32A = 0x9E3779B1;
    public const ulong Prime32B = 0x85EBCA77;
    public const ulong Prime32C = 0xC2B2AE3D;
    public const ulong Prime64A = 0x9E3779B185EBCA87;
    public const ulong Prime64B = 0xC2B2AE3D27D4EB4F;
    public const ulong Prime64C = 0x165667B19E3779F9;
    public const ulong Prime64D = 0x85EBCA77C2B2AE63;
    public const ulong Prime64E = 0x27D4EB2F165667C5;

    private const int LowMergeOffset = 11;
    private const int HighMergeOffset = SecretBytes - StripeBytes - LowMergeOffset;
    private const ulong AvalancheFactor = 0x165667919E3779F9;

    private static ReadOnlySpan<byte> DefaultSecret =>
    [
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
        0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
        0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
        0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
        0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
        0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
        0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
        0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
        0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
        0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
        0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
        0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
    ];

    /// <summary>The accumulators' first values.</summary>
    public static ReadOnlySpan<ulong> InitialAccumulators =>
        [Prime32C, Prime64A, Prime64B, Prime64C, Prime64D, Prime32B, Prime64E, Prime32A];

    /// <summary>The secret of a seed: the default one, seed added to and subtracted from its words in turn.</summary>
    public static byte[] DeriveSecret(ulong seed)
    {
        var secret = new byte[SecretBytes];
        for (var at = 0; at < SecretBytes; at += 2 * sizeof(ulong))
        {
            var plus = BinaryPrimitives.ReadUInt64LittleEndian(DefaultSecret[at..]) + seed;
            var minus = BinaryPrimitives.ReadUInt64LittleEndian(DefaultSecret[(at + sizeof(ulong))..]) - seed;
            BinaryPrimitives.WriteUInt64LittleEndian(secret.AsSpan(at), plus);
            BinaryPrimitives.WriteUInt64LittleEndian(secret.AsSpan(at + sizeof(ulong)), minus);
        }

        return secret;
    }

    /// <summary>The words of the secret that the two merges use, those of the low half first.</summary>
    public static ulong[] MergeKeys(ReadOnlySpan<byte> secret)
    {
        var keys = new ulong[2 * Lanes];
        for (var lane = 0; lane < Lanes; lane++)
        {
            var at = lane * sizeof(ulong);
            keys[lane] = BinaryPrimitives.ReadUInt64LittleEndian(secret[(LowMergeOffset + at)..]);
            keys[Lanes + lane] = BinaryPrimitives.ReadUInt64LittleEndian(secret[(HighMergeOffset + at)..]);
        }

        return keys;
    }

    /// <summary>The digest from the accumulators after the last stripe.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static UInt128 Finish(ReadOnlySpan<ulong> accumulators, ReadOnlySpan<ulong> mergeKeys)
    {
        var low = Merge(accumulators, mergeKeys[..Lanes], unchecked(PageSize.Bytes * Prime64A));
        var high = Merge(accumulators, mergeKeys[Lanes..], ~unchecked(PageSize.Bytes * Prime64B));
        return new UInt128(high, low);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Merge(ReadOnlySpan<ulong> accumulators, ReadOnlySpan<ulong> keys, ulong start)
    {
        var a = accumulators[..Lanes];
        var k = keys[..Lanes];
        var sum = start;
        sum += Fold(a[0] ^ k[0], a[1] ^ k[1]);
        sum += Fold(a[2] ^ k[2], a[3] ^ k[3]);
        sum += Fold(a[4] ^ k[4], a[5] ^ k[5]);
        sum += Fold(a[6] ^ k[6], a[7] ^ k[7]);
        sum ^= sum >> 37;
        sum *= AvalancheFactor;
        return sum ^ (sum >> 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Fold(ulong left, ulong right) => Math.BigMul(left, right, out ulong low) ^ low;
}
