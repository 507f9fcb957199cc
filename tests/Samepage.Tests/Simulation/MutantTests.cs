using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>A checker is worth what it catches: every broken machine, by seeds, and how fast.</summary>
public class MutantTests(ITestOutputHelper output)
{
    public static TheoryData<Mutant> Mutants { get; } = new(MutantHunt.All);

    [Theory]
    [MemberData(nameof(Mutants))]
    public void EveryBrokenMachineIsCaught(Mutant mutant)
    {
        MutantCatch caught = MutantHunt.Hunt(mutant, 1, 1000, TestContext.Current.CancellationToken);
        output.WriteLine($"{mutant}: {caught.Runs} seeds, {caught.Ticks} ticks, by {caught.Failure?.Check}: "
            + $"{caught.Failure?.What}; again: {caught.Command}");
        Assert.True(caught.Failure is not null, $"{mutant} was not caught by {caught.Runs} histories");
    }

    [Theory]
    [InlineData(Mutant.NoCompare, 1)]
    [InlineData(Mutant.CompareBeforeProtect, 1)]
    [InlineData(Mutant.ReplacedUnexpected, 1)]
    [InlineData(Mutant.WritableShared, 1)]
    [InlineData(Mutant.NoWriteProtect, 2)]
    [InlineData(Mutant.MissedFlushOnProtect, 2)]
    public void TheSmallWorldFindsTheClassicMistakes(Mutant mutant, int actions)
    {
        ExhaustiveOptions options = new() { Actions = actions, Mutant = mutant, Starts = [0b0110] };
        ExhaustiveResult result = new ExhaustiveSearch(options).Go(null, TestContext.Current.CancellationToken);
        output.WriteLine($"{mutant}: history {result.Histories}: {result.Failure?.What}; "
            + string.Join("; ", result.Failure?.LastActions ?? []));
        Assert.NotNull(result.Failure);
    }
}
