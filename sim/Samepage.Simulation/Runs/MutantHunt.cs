namespace Samepage.Simulation;

/// <summary>How a broken machine was caught.</summary>
/// <param name="Mutant">What is broken.</param>
/// <param name="Runs">Random runs it took, the last included.</param>
/// <param name="Ticks">Ticks of all of them together.</param>
/// <param name="Failure">What was seen; null: it was not caught.</param>
/// <param name="Command">The command that shows it again.</param>
public sealed record MutantCatch(Mutant Mutant, int Runs, long Ticks, RunFailure? Failure, string Command);

/// <summary>Runs each broken machine with one seed after the other until the checker catches it.</summary>
public static class MutantHunt
{
    /// <summary>Ticks of one run.</summary>
    public const int TicksPerRun = 500;

    /// <summary>All broken machines.</summary>
    public static IReadOnlyList<Mutant> All { get; } =
        [.. Enum.GetValues<Mutant>().Where(mutant => mutant != Mutant.None)];

    /// <summary>Hunts one.</summary>
    /// <param name="mutant">What is broken.</param>
    /// <param name="seed">First seed.</param>
    /// <param name="runsMax">Seeds to try before giving up.</param>
    /// <param name="cancel">Ends it early.</param>
    public static MutantCatch Hunt(Mutant mutant, ulong seed, int runsMax, CancellationToken cancel)
    {
        long ticks = 0;
        RunResult? result = null;
        for (int run = 0; run < runsMax; run++)
        {
            result = new SeededRun(new RunOptions { Seed = seed + (ulong)run, Ticks = TicksPerRun, Mutant = mutant })
                .Go(null, cancel);
            ticks += result.Ticks;
            if (result.Failure is not null)
            {
                return new MutantCatch(mutant, run + 1, ticks, result.Failure, result.Command);
            }
        }

        return new MutantCatch(mutant, runsMax, ticks, null, result?.Command ?? "");
    }
}
