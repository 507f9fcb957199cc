using System.Numerics;
using Xunit;

namespace Samepage.Tests;

public class PageSamplerTests
{
    [Fact]
    public void ASampleDependsOnEveryByteOfItsTwoLinesAndOnNoOther()
    {
        for (ulong seed = 0; seed < 20; seed++)
        {
            PageSampler sampler = PageSampler.Create(seed);
            byte[] page = new byte[PageSize.Bytes];
            new Random((int)seed).NextBytes(page);
            ulong sample = sampler.Sample(page);
            var seen = new HashSet<ulong> { sample };
            int changed = 0;
            for (int i = 0; i < page.Length; i++)
            {
                page[i] ^= 0x10;
                bool isInLine = sampler.Offsets.ToArray().Any(offset => i >= offset && i < offset + PageSampler.LineBytes);
                ulong other = sampler.Sample(page);
                Assert.Equal(isInLine, other != sample);
                Assert.Equal(isInLine, seen.Add(other));
                changed += isInLine ? 1 : 0;
                page[i] ^= 0x10;
            }

            Assert.Equal(PageSampler.Lines * PageSampler.LineBytes, changed);
        }
    }

    [Fact]
    public void TheTwoLinesAreDifferentLinesAndOtherSeedsTakeOthers()
    {
        var pairs = new HashSet<(int, int)>();
        for (ulong seed = 0; seed < 200; seed++)
        {
            ReadOnlySpan<int> offsets = PageSampler.Create(seed).Offsets;
            Assert.Equal(PageSampler.Lines, offsets.Length);
            Assert.InRange(offsets[0], 0, offsets[1] - PageSampler.LineBytes);
            Assert.InRange(offsets[1], 0, PageSize.Bytes - PageSampler.LineBytes);
            Assert.All(offsets.ToArray(), offset => Assert.Equal(0, offset % PageSampler.LineBytes));
            pairs.Add((offsets[0], offsets[1]));
        }

        Assert.InRange(pairs.Count, 150, 200);
    }

    [Fact]
    public void SamplesOfCountersAndSparsePagesAreSpreadOverAllBits()
    {
        PageSampler sampler = PageSampler.Create(7);
        byte[] page = new byte[PageSize.Bytes];
        int[] ones = new int[64];
        const int pages = 4096;
        var keys = new HashSet<ulong>();
        for (int i = 1; i <= pages; i++)
        {
            BitConverter.TryWriteBytes(page.AsSpan(sampler.Offsets[1] + 24), (ulong)i);
            ulong sample = sampler.Sample(page);
            Assert.True(keys.Add(sample & ((1UL << 48) - 1)));
            for (int bit = 0; bit < 64; bit++)
            {
                ones[bit] += (int)(sample >> bit) & 1;
            }
        }

        Assert.Equal(pages, keys.Count);
        Assert.All(ones, count => Assert.InRange(count, (pages / 2) - 320, (pages / 2) + 320));
    }

    [Fact]
    public void TheHashIsTheOneWrittenDown()
    {
        // The formula of the class, in arithmetic that cannot overflow.
        PageSampler sampler = PageSampler.Create(99);
        byte[] page = new byte[PageSize.Bytes];
        new Random(99).NextBytes(page);
        BigInteger low = 0, high = 0, mask = ulong.MaxValue;
        int k = 0;
        foreach (int offset in sampler.Offsets.ToArray())
        {
            for (int i = 0; i < 4; i++, k += 2)
            {
                BigInteger product = (BigInteger)(BitConverter.ToUInt64(page, offset + (16 * i)) ^ sampler.Key[k])
                    * (BitConverter.ToUInt64(page, offset + (16 * i) + 8) ^ sampler.Key[k + 1]);
                low = (low + product) & mask;
                high = (high + (product >> 64)) & mask;
            }
        }

        BigInteger end = (low ^ sampler.Key[k]) * (high ^ sampler.Key[k + 1]);
        Assert.Equal(PageSampler.KeyWords, k + 2);
        Assert.Equal((ulong)((end ^ (end >> 64)) & mask), sampler.Sample(page));
    }

    [Fact]
    public void APageOfAnotherSizeIsRefused() =>
        Assert.Throws<ArgumentException>(() => PageSampler.Create(1).Sample(new byte[PageSize.Bytes - 1]));
}
