using System.Globalization;
using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>Random histories on the simulated machine. A failure prints seed, commit and one command.</summary>
public class SeededTests(ITestOutputHelper output)
{
    private const ulong Seeds = 60;
    private const long Ticks = 300;

    [Theory]
    [InlineData(NotificationRule.ChangePte)]
    [InlineData(NotificationRule.InvalidateRange)]
    public void WhateverRunsInTheMiddleOfAMergeNothingIsLostAndInTheEndAllEqualPagesAreMerged(NotificationRule rule)
    {
        long merged = 0;
        long interleaved = 0;
        long faults = 0;
        for (ulong seed = 1; seed <= Seeds; seed++)
        {
            RunResult result = new SeededRun(new RunOptions { Seed = seed, Ticks = Ticks, Rule = rule })
                .Go(null, TestContext.Current.CancellationToken);
            Assert.True(result.Failure is null, result.Report);
            merged += result.PagesMerged;
            interleaved += result.Interleaved;
            faults += result.FaultsInjected;
        }

        output.WriteLine($"{merged} pages merged, {interleaved} operations in the middle, {faults} faults");

        // Histories in which nothing happens would pass too.
        Assert.True(merged > 1000 && interleaved > 10_000 && faults > 100);
    }

    [Fact]
    public void TheSameSeedGivesTheSameHistory()
    {
        RunResult first = Run(17);
        RunResult second = Run(17);
        Assert.Equal(first, second);
        Assert.NotEqual(first.Operations, Run(18).Operations);
    }

    [Fact]
    public void AFailureSaysSeedTickCommitAndTheCommandThatShowsItAgain()
    {
        var options = new RunOptions { Seed = 3, Ticks = 500, Mutant = Mutant.NoCompare };
        RunResult result = new SeededRun(options).Go(null, TestContext.Current.CancellationToken);
        Assert.NotNull(result.Failure);
        Assert.NotEmpty(result.Failure.LastActions);
        Assert.StartsWith(
            string.Create(CultureInfo.InvariantCulture, $"seed 3, tick {result.Failure.Tick} of 500, commit "),
            result.Report,
            StringComparison.Ordinal);
        Assert.EndsWith(
            "; again: samepage simulate --seed 3 --ticks 500 --mutant NoCompare", result.Report, StringComparison.Ordinal);
        RunResult again = new SeededRun(options).Go(null, TestContext.Current.CancellationToken);
        Assert.Equal(result.Failure.Tick, again.Failure?.Tick);
    }

    private static RunResult Run(ulong seed) =>
        new SeededRun(new RunOptions { Seed = seed, Ticks = 200 }).Go(null, TestContext.Current.CancellationToken);
}
