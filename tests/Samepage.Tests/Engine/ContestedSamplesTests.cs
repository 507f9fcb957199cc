using Xunit;

namespace Samepage.Tests;

public class ContestedSamplesTests
{
    private const long Room = 1 << 20;

    [Fact]
    public void NoSampleIsForgottenAndFewStrangersAreTakenForMembers()
    {
        var set = new ContestedSamples();
        var random = new Random(1);
        ulong[] members = [.. Enumerable.Range(0, 300_000).Select(_ => (ulong)random.NextInt64() & PageKey.Mask)];
        foreach (ulong member in members)
        {
            Add(set, member);
        }

        Assert.All(members, member => Assert.True(set.MayHave(member)));
        int taken = Enumerable.Range(0, 100_000).Count(_ => set.MayHave((ulong)random.NextInt64() & PageKey.Mask));
        Assert.InRange(taken, 0, 6_000);
        Assert.InRange(set.Bytes, 300_000, 600_000);
    }

    [Fact]
    public void TheSameSampleAddedAgainTakesNoRoom()
    {
        var set = new ContestedSamples();
        for (int i = 0; i < 1_000_000; i++)
        {
            Add(set, 42);
        }

        Assert.Equal(8 << 10, set.Bytes);
    }

    [Fact]
    public void ASetThatMayGrowNoFurtherHasEverySampleUntilItIsCleared()
    {
        var set = new ContestedSamples();
        Assert.False(set.MayHave(1));
        for (ulong i = 1; !set.IsOverflown; i++)
        {
            Assert.True(i < 100_000);
            if (!set.TryAdd(i))
            {
                set.Grow(64 << 10);
            }
        }

        Assert.True(set.MayHave(ulong.MaxValue));
        Assert.Equal(0, set.Bytes);
        set.Clear();
        Assert.False(set.MayHave(1));
        Add(set, 1);
        Assert.True(set.MayHave(1));
    }

    private static void Add(ContestedSamples set, ulong sample)
    {
        if (!set.TryAdd(sample))
        {
            set.Grow(Room);
            Assert.True(set.TryAdd(sample));
        }
    }
}
