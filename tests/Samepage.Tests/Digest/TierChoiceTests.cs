using Xunit;

namespace Samepage.Tests;

/// <summary>Which tiers there are, which is taken; <see cref="RestrictedProcessorTests"/> sets conditions.</summary>
public sealed class TierChoiceTests
{
    [Fact]
    public void TheTiersAreThoseTheProcessorAndTheRuntimeAllow()
    {
        var flags = File.ReadLines("/proc/cpuinfo").First(line => line.StartsWith("flags", StringComparison.Ordinal));
        var intrinsics = !IsOff("DOTNET_EnableHWIntrinsic");
        var avx2 = intrinsics && !IsOff("DOTNET_EnableAVX2") && flags.Split(' ').Contains("avx2");

        var expected = new List<string> { "scalar" };
        if (intrinsics)
        {
            expected.Insert(0, "vector128");
        }

        if (avx2)
        {
            expected.Insert(0, "vector256");
        }

        Assert.Equal(expected, PageDigester.AvailableTiers);
    }

    [Fact]
    public void TheBestTierIsTakenUnlessTheEnvironmentOrTheCallerNamesOne()
    {
        var named = Environment.GetEnvironmentVariable("SAMEPAGE_DIGEST");
        Assert.Equal(named ?? PageDigester.AvailableTiers[0], PageDigester.Create(0).Tier);
        foreach (var tier in PageDigester.AvailableTiers)
        {
            Assert.Equal(tier, PageDigester.Create(0, tier).Tier);
        }
    }

    private static bool IsOff(string variable) => Environment.GetEnvironmentVariable(variable) == "0";
}
