using System.Globalization;
using Xunit;

namespace Samepage.Tests;

/// <summary>Every tier against digests that the reference implementation printed.</summary>
public sealed class VectorTests
{
    public static TheoryData<string> Tiers => [.. PageDigester.AvailableTiers];

    [Theory]
    [MemberData(nameof(Tiers))]
    public void EveryCommittedVectorHasTheDigestOfTheReference(string tier)
    {
        var lines = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "Digest", "vectors.txt"));
        var vectors = lines.Where(line => line.Length > 0 && line[0] != '#').ToArray();

        Assert.Equal(40, vectors.Length);
        foreach (var vector in vectors)
        {
            var parts = vector.Split(' ');
            var seed = ulong.Parse(parts[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            var digest = PageDigester.Create(seed, tier).Digest(NamedPages.Named(parts[0]));
            Assert.Equal(parts[2], digest.ToString("x32", CultureInfo.InvariantCulture));
        }
    }
}
