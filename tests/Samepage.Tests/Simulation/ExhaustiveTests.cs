using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>Small worlds, enumerated and not sampled.</summary>
public class ExhaustiveTests(ITestOutputHelper output)
{
    [Fact]
    public void NoHistoryWithOneActionLosesAByteFromAnyStart() => Search(1, ExhaustiveOptions.AllStarts, 2000);

    [Fact]
    public void NoHistoryWithTwoActionsLosesAByteWhenTwoPagesAreEqual() => Search(2, [0b0110], 20_000);

    [Fact]
    public void AllCombinationsOfChoicesAreMadeOnce()
    {
        var choices = new Choices();
        var made = new List<string>();
        do
        {
            int first = choices.Next(3);
            made.Add(first == 1 ? $"{first}{choices.Next(2)}{choices.Next(2)}" : $"{first}");
        }
        while (choices.Advance());
        Assert.Equal(["0", "100", "101", "110", "111", "2"], made);
    }

    private void Search(int actions, IReadOnlyList<int> starts, long least)
    {
        ExhaustiveResult result = new ExhaustiveSearch(new ExhaustiveOptions { Actions = actions, Starts = starts })
            .Go(null, TestContext.Current.CancellationToken);
        output.WriteLine($"{result.Histories} histories, {result.Moments} moments, {result.PagesMerged} pages merged");
        Assert.True(result.Failure is null, $"history {result.Histories}: {result.Failure}");
        Assert.True(result.Histories > least && result.PagesMerged > 0);
    }
}
