using System.Diagnostics;
using System.Globalization;
using Xunit;

namespace Samepage.Tests;

/// <summary>Every tier against the scalar one, the specification, and that one against the xxhsum tool.</summary>
public sealed class DigestTierTests
{
    public static TheoryData<string> Tiers => [.. PageDigester.AvailableTiers];

    [Theory]
    [MemberData(nameof(Tiers))]
    public void EveryTierDigestsRandomPagesLikeTheScalarOne(string tier)
    {
        var random = new Random(20261);
        for (var i = 0; i < 500; i++)
        {
            var seed = (ulong)random.NextInt64(long.MinValue, long.MaxValue);
            AssertLikeScalar(tier, seed, NamedPages.Random(random));
        }
    }

    [Theory]
    [MemberData(nameof(Tiers))]
    public void EveryTierDigestsSingleBitDifferencesLikeTheScalarOneAndUnlikeAllOthers(string tier)
    {
        const ulong seed = 77;
        var seen = new HashSet<UInt128>();
        foreach (var name in new[] { "zero", "ones" })
        {
            var page = NamedPages.Named(name);
            Assert.True(seen.Add(AssertLikeScalar(tier, seed, page)));
            // A step without a common factor with the size of stripe, lane and byte comes by all their places.
            for (var bit = 0; bit < PageSize.Bytes * 8; bit += 37)
            {
                NamedPages.FlipBit(page, bit);
                Assert.True(seen.Add(AssertLikeScalar(tier, seed, page)), $"{name} with bit {bit} flipped");
                NamedPages.FlipBit(page, bit);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Tiers))]
    public void ManyPagesAtOnceHaveTheDigestsOfEach(string tier)
    {
        var random = new Random(20262);
        var pages = new byte[7 * PageSize.Bytes];
        random.NextBytes(pages);
        var digester = PageDigester.Create(3, tier);
        var digests = new UInt128[7];

        digester.Digest(pages, digests);

        for (var i = 0; i < digests.Length; i++)
        {
            Assert.Equal(digester.Digest(pages.AsSpan(i * PageSize.Bytes, PageSize.Bytes)), digests[i]);
        }
    }

    [Theory]
    [MemberData(nameof(Tiers))]
    public void PagesNeedNoAlignment(string tier)
    {
        var page = NamedPages.Random(new Random(20263));
        var buffer = new byte[PageSize.Bytes + 64];
        var expected = AssertLikeScalar(tier, 5, page);
        var digester = PageDigester.Create(5, tier);
        for (var offset = 0; offset < 64; offset++)
        {
            page.CopyTo(buffer, offset);
            Assert.Equal(expected, digester.Digest(buffer.AsSpan(offset, PageSize.Bytes)));
        }
    }

    [Fact]
    public void AnotherSeedGivesAnotherDigest()
    {
        var page = NamedPages.Named("ramp7");
        var digests = Enumerable.Range(0, 100).Select(seed => PageDigester.Create((ulong)seed).Digest(page));
        Assert.Equal(100, digests.Distinct().Count());
    }

    [Fact]
    public void ACallDoesNotAllocate()
    {
        var pages = new byte[4 * PageSize.Bytes];
        var digests = new UInt128[4];
        foreach (var tier in PageDigester.AvailableTiers)
        {
            var digester = PageDigester.Create(1, tier);
            digester.Digest(pages, digests);
            digests[0] = digester.Digest(pages.AsSpan(0, PageSize.Bytes));
            var before = GC.GetAllocatedBytesForCurrentThread();
            digester.Digest(pages, digests);
            digests[0] = digester.Digest(pages.AsSpan(0, PageSize.Bytes));
            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        }
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(PageSize.Bytes - 1, 1)]
    [InlineData(PageSize.Bytes + 1, 1)]
    [InlineData(PageSize.Bytes, 2)]
    public void AnythingButWholePagesIsRefused(int bytes, int digests)
    {
        var digester = PageDigester.Create(0);
        Assert.Throws<ArgumentException>(() => digester.Digest(new byte[bytes], new UInt128[digests]));
    }

    [Fact]
    public void AnUnknownTierIsRefusedWithTheListOfThoseThatExist()
    {
        var error = Assert.Throws<ArgumentException>(() => PageDigester.Create(0, "vector9"));
        Assert.Contains("vector9", error.Message, StringComparison.Ordinal);
        Assert.Contains("scalar", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheSpecificationGivesWhatTheXxhsumToolPrints()
    {
        Assert.SkipWhen(FindTool("xxhsum") is null, "xxhsum is not installed (package xxhash)");
        var random = new Random(20264);
        var directory = Directory.CreateTempSubdirectory("samepage-digest-");
        try
        {
            var pages = Enumerable.Range(0, 50).Select(_ => NamedPages.Random(random))
                .Concat(new[] { "zero", "ones", "ramp7", "bit0", "bit32767" }.Select(NamedPages.Named)).ToArray();
            var files = pages.Select((_, i) => Path.Combine(directory.FullName, $"page{i}")).ToArray();
            for (var i = 0; i < pages.Length; i++)
            {
                File.WriteAllBytes(files[i], pages[i]);
            }

            var digester = PageDigester.Create(0, "scalar");
            var expected = pages.Select((page, i) =>
                digester.Digest(page).ToString("x32", CultureInfo.InvariantCulture) + "  " + files[i]);
            Assert.Equal(expected, RunXxhsum(files));
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    private static UInt128 AssertLikeScalar(string tier, ulong seed, byte[] page)
    {
        var expected = PageDigester.Create(seed, "scalar").Digest(page);
        Assert.Equal(expected, PageDigester.Create(seed, tier).Digest(page));
        return expected;
    }

    private static string[] RunXxhsum(string[] files)
    {
        var start = new ProcessStartInfo("xxhsum", ["-H2", .. files]) { RedirectStandardOutput = true };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    private static string? FindTool(string name) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Select(directory => Path.Combine(directory, name)).FirstOrDefault(File.Exists);
}
