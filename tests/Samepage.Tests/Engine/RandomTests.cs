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
    private const int Actions = 250;

    [Fact]
    public void WhateverHappensEveryProcessReadsWhatItWroteAndInTheEndAllEqualPagesAreMerged()
    {
        // One seed alone: SAMEPAGE_SEED=123 ... --filter-method "*WhateverHappens*"
        string? only = Environment.GetEnvironmentVariable("SAMEPAGE_SEED");
        int first = only is null ? 1 : int.Parse(only, CultureInfo.InvariantCulture);
        int last = only is null ? Seeds : first;
        for (int seed = first; seed <= last; seed++)
        {
            var run = new RandomRun(seed);
            try
            {
                run.Go(Actions);
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
