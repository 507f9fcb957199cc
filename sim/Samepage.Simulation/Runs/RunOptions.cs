namespace Samepage.Simulation;

/// <summary>What a random run is made of. The same options give the same run.</summary>
public sealed record RunOptions
{
    /// <summary>Decides everything that is random.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Decisions of the scheduler before the faults go and everything has to converge.</summary>
    public long Ticks { get; init; } = 1000;

    /// <summary>Number of CPUs.</summary>
    public int Processors { get; init; } = 4;

    /// <summary>What is broken on purpose.</summary>
    public Mutant Mutant { get; init; }

    /// <summary>How guests hear of new pages.</summary>
    public NotificationRule Rule { get; init; }

    /// <summary>False: nothing goes wrong but what programs do.</summary>
    public bool HasFaults { get; init; } = true;
}

/// <summary>A rule broken in a run.</summary>
/// <param name="Tick">When, from 1; one more than the ticks asked for: after them, while converging.</param>
/// <param name="Check">Which check saw it.</param>
/// <param name="What">What was seen.</param>
/// <param name="LastActions">What happened before.</param>
public sealed record RunFailure(long Tick, string Check, string What, IReadOnlyList<string> LastActions);

/// <summary>What a run did.</summary>
/// <param name="Options">What it was made of.</param>
/// <param name="Ticks">Ticks that passed.</param>
/// <param name="Operations">Operations of programs, guests and devices.</param>
/// <param name="Interleaved">Those of them that ran in the middle of the engine's work.</param>
/// <param name="FullScans">Passes of the engine.</param>
/// <param name="PagesMerged">Pages replaced by shared ones.</param>
/// <param name="Breaks">Copies on write.</param>
/// <param name="FaultsInjected">Faults that happened.</param>
/// <param name="Failure">What was found; null when nothing was.</param>
public sealed record RunResult(
    RunOptions Options,
    long Ticks,
    long Operations,
    long Interleaved,
    long FullScans,
    long PagesMerged,
    long Breaks,
    long FaultsInjected,
    RunFailure? Failure)
{
    /// <summary>The failure with all one needs to see it again: seed, tick, commit and one command.</summary>
    public string? Report => Failure is null ? null : FormattableString.Invariant(
        $"seed {Options.Seed}, tick {Failure.Tick} of {Options.Ticks}, commit {Build.Commit}: ")
        + $"{Failure.Check}: {Failure.What}; again: {Command}";

    /// <summary>The command that gives the same run again.</summary>
    public string Command =>
        FormattableString.Invariant($"samepage simulate --seed {Options.Seed} --ticks {Options.Ticks}")
        + (Options.Mutant == Mutant.None ? "" : $" --mutant {Options.Mutant}")
        + (Options.Rule == NotificationRule.ChangePte ? "" : " --invalidate-range")
        + (Options.HasFaults ? "" : " --no-faults");
}
