using System.Runtime.Versioning;
using Samepage.Linux.Interop;
using Xunit;

namespace Samepage.Linux.Tests;

/// <summary>A read one byte outside the page would kill the test process.</summary>
[SupportedOSPlatform("linux")]
public sealed class GuardPageTests
{
    public static TheoryData<string> Tiers => [.. PageDigester.AvailableTiers];

    [Theory]
    [MemberData(nameof(Tiers))]
    public void NoTierReadsOutsideThePages(string tier)
    {
        using var guarded = new GuardedPages(3);
        var memory = guarded.GetSpan();
        new Random(20266).NextBytes(memory);
        var copy = memory.ToArray();
        var digester = PageDigester.Create(11, tier);
        var digests = new UInt128[3];

        digester.Digest(memory, digests);

        for (var i = 0; i < digests.Length; i++)
        {
            Assert.Equal(digester.Digest(copy.AsSpan(i * PageSize.Bytes, PageSize.Bytes)), digests[i]);
        }

        Assert.Equal(digests[2], digester.Digest(memory[^PageSize.Bytes..]));
        Assert.Equal(digests[0], digester.Digest(memory[..PageSize.Bytes]));
    }

    [Fact]
    public void LookingForZeroReadsNothingOutsideThePage()
    {
        using var guarded = new GuardedPages(1);
        var page = guarded.GetSpan();
        Assert.True(PageDigester.IsZero(page));
        page[^1] = 1;
        Assert.False(PageDigester.IsZero(page));
        page.Clear();
        page[0] = 1;
        Assert.False(PageDigester.IsZero(page));
    }

    [Fact]
    public void TheGuardsAreInaccessible()
    {
        using var guarded = new GuardedPages(1);
        var start = guarded.Address;
        var around = File.ReadLines("/proc/self/maps").Select(line => line.Split(' ', 3))
            .Where(parts => parts[0].EndsWith($"-{start:x}", StringComparison.Ordinal) ||
                parts[0].StartsWith($"{start + PageSize.Bytes:x}-", StringComparison.Ordinal))
            .Select(parts => parts[1]).ToArray();
        Assert.Equal(["---p", "---p"], around);
    }
}
