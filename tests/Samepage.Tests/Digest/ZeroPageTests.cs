using Xunit;

namespace Samepage.Tests;

public sealed class ZeroPageTests
{
    [Fact]
    public void APageOfZerosIsZero() => Assert.True(PageDigester.IsZero(new byte[PageSize.Bytes]));

    [Fact]
    public void APageWithAnySingleBitSetIsNotZero()
    {
        var page = new byte[PageSize.Bytes];
        for (var bit = 0; bit < PageSize.Bytes * 8; bit++)
        {
            NamedPages.FlipBit(page, bit);
            Assert.False(PageDigester.IsZero(page), $"bit {bit}");
            NamedPages.FlipBit(page, bit);
        }

        Assert.True(PageDigester.IsZero(page));
    }
}
