using System.Globalization;
using Xunit;

namespace Samepage.Tests;

/// <summary>
/// Programs that do anything at any time, a machine on which anything goes wrong, and an engine in between, by seed.
/// After every step each process must read what it wrote; in the end, with the faults gone, everything equal must be
/// merged.
/// </summary>
public class RandomTests(ITestOutputHelper output)
{
    private const int Seeds = 300;
    private const int SeedsBeside = 150;
    private const int Actions = 250;

    [Fact]
    public void WhateverHappensEveryProcessReadsWhatItWroteAndInTheEndAllEqualPagesAreMerged()
    {
        ForEachSeed(Seeds, seed => new RandomRun(seed), _ => { });
    }

    [Fact]
    public void ItIsTheSameWhilePlansAreCarriedOutBesideTheEngine()
    {
        int beside = 0;
        ForEachSeed(
            SeedsBeside,
            seed =>
            {
                var run = new RandomRun(seed);
                run.WorkBeside();
                return run;
            },
            run => beside += run.CarriedOutBeside);
        Assert.True(beside > 100, $"only {beside} plans were carried out beside the engine");
    }

    private void ForEachSeed(int seeds, Func<int, RandomRun> make, Action<RandomRun> done)
    {
        // One seed alone: SAMEPAGE_SEED=123 ... --filter-method "*WhateverHappens*"
        string? only = Environment.GetEnvironmentVariable("SAMEPAGE_SEED");
        int first = only is null ? 1 : int.Parse(only, CultureInfo.InvariantCulture);
        int last = only is null ? seeds : first;
        for (int seed = first; seed <= last; seed++)
        {
            RandomRun run = make(seed);
            try
            {
                run.Go(Actions);
                done(run);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                output.WriteLine($"SAMEPAGE_SEED={seed}; last actions: {string.Join("; ", run.Log.TakeLast(25))}");
                throw;
            }
        }
    }

    [Fact]
    public void AMachineThatDoesNotCompareIsCaughtByRandomProgramsToo()
    {
        int caught = 0;
        for (int seed = 1; seed <= 20; seed++)
        {
            var run = new RandomRun(seed) { Mutant = MemoryFault.DoesNotCompare };
            caught += run.Finds() ? 1 : 0;
        }

        Assert.InRange(caught, 5, 20);
    }
}
