using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;
using Samepage.Simulation;

namespace Samepage.Cli.Verbs;

/// <summary>What samepage simulate prints.</summary>
internal sealed class SimulateOutput(Terminal terminal, bool json)
{
    internal ExitCode Print(IReadOnlyList<RunResult> results)
    {
        RunResult last = results[^1];
        if (json)
        {
            Write(SimulateJson.Default.SimulateDocument, new SimulateDocument(
                Build.Commit,
                last.Failure is null,
                results.Count,
                results.Sum(run => run.Ticks),
                results.Sum(run => run.Operations),
                results.Sum(run => run.Interleaved),
                results.Sum(run => run.FullScans),
                results.Sum(run => run.PagesMerged),
                results.Sum(run => run.Breaks),
                results.Sum(run => run.FaultsInjected),
                last.Failure is null ? null : new FailureDocument(last.Options.Seed, last.Failure, last.Command)));
        }
        else
        {
            terminal.Out.WriteLine($"{Amounts.Count(results.Count)} histories, "
                + $"{Amounts.Count(results.Sum(run => run.Ticks))} ticks: "
                + $"{Amounts.Count(results.Sum(run => run.Operations))} operations of programs, guests and devices "
                + $"({Amounts.Count(results.Sum(run => run.Interleaved))} in the middle of the engine's work), "
                + $"{Amounts.Count(results.Sum(run => run.PagesMerged))} pages merged, "
                + $"{Amounts.Count(results.Sum(run => run.Breaks))} copies on write, "
                + $"{Amounts.Count(results.Sum(run => run.FaultsInjected))} faults");
        }

        if (last.Failure is null)
        {
            WriteLine("nothing found");
            return ExitCode.Done;
        }

        foreach (string action in last.Failure.LastActions)
        {
            WriteLine($"  {action}");
        }

        terminal.Error.WriteLine(CommandLine.ErrorPrefix + last.Report);
        return ExitCode.Failed;
    }

    internal ExitCode Print(IReadOnlyList<MutantCatch> caught)
    {
        if (json)
        {
            Write(SimulateJson.Default.MutantsDocument, new MutantsDocument(Build.Commit, [.. caught.Select(mutant =>
                new MutantDocument(
                    $"{mutant.Mutant}",
                    mutant.Failure is not null,
                    mutant.Runs,
                    mutant.Ticks,
                    mutant.Failure?.Check,
                    mutant.Failure?.What,
                    mutant.Command))]));
        }
        else
        {
            Table.Print(
                terminal,
                ["Mutant", "Caught by", "Again", "Seeds", "Ticks"],
                caught.Select(mutant => new[]
                {
                    $"{mutant.Mutant}", mutant.Failure?.Check ?? "not caught", mutant.Command,
                    Amounts.Count(mutant.Runs), Amounts.Count(mutant.Ticks),
                }),
                textColumns: 3);
        }

        MutantCatch? free = caught.FirstOrDefault(mutant => mutant.Failure is null);
        if (free is null)
        {
            return ExitCode.Done;
        }

        terminal.Error.WriteLine($"{CommandLine.ErrorPrefix}{free.Mutant} was not caught by {free.Runs} histories");
        return ExitCode.Failed;
    }

    internal ExitCode Print(IReadOnlyList<ExitRow> rows)
    {
        if (json)
        {
            Write(SimulateJson.Default.ExitsDocument, new ExitsDocument(rows));
            return ExitCode.Done;
        }

        terminal.Out.WriteLine("Exits of a guest per page:");
        Table.Print(
            terminal,
            ["Told by", "Merged, read", "Read while merged", "Guest writes it", "Hypervisor writes it"],
            rows.Select(row => new[]
            {
                row.Way, Exits(row.ReadAfterMerge), Exits(row.ReadDuringMerge), Exits(row.BreakByGuest),
                Exits(row.BreakByHost),
            }));
        return ExitCode.Done;
    }

    internal ExitCode Print(ExhaustiveResult result, int actions, Mutant mutant)
    {
        string again = string.Create(CultureInfo.InvariantCulture, $"samepage simulate --exhaustive {actions}")
            + (mutant == Mutant.None ? "" : $" --mutant {mutant}");
        if (json)
        {
            Write(SimulateJson.Default.ExhaustiveDocument, new ExhaustiveDocument(
                Build.Commit,
                result.Failure is null,
                actions,
                result.Histories,
                result.Moments,
                result.PagesMerged,
                result.Failure is null ? null : new FailureDocument(0, result.Failure, again)));
        }
        else
        {
            terminal.Out.WriteLine($"{Amounts.Count(result.Histories)} histories with up to {actions} actions at up to "
                + $"{result.Moments} moments; {Amounts.Count(result.PagesMerged)} pages merged");
        }

        if (result.Failure is null)
        {
            WriteLine("that is all there are; nothing found");
            return ExitCode.Done;
        }

        foreach (string action in result.Failure.LastActions)
        {
            WriteLine($"  {action}");
        }

        terminal.Error.WriteLine($"{CommandLine.ErrorPrefix}history {result.Failure.Tick}, commit {Build.Commit}: "
            + $"{result.Failure.Check}: {result.Failure.What}; again: {again}");
        return ExitCode.Failed;
    }

    private static string Exits(double exits) => exits.ToString("0.##", CultureInfo.InvariantCulture);

    private void WriteLine(string text)
    {
        if (!json)
        {
            terminal.Out.WriteLine(text);
        }
    }

    private void Write<T>(System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type, T document) =>
        terminal.Out.WriteLine(JsonSerializer.Serialize(document, type));
}

internal sealed record SimulateDocument(
    string Commit,
    bool Passed,
    int Runs,
    long Ticks,
    long Operations,
    long OperationsInterleaved,
    long FullScans,
    long PagesMerged,
    long CopiesOnWrite,
    long Faults,
    FailureDocument? Failure);

internal sealed record FailureDocument(
    ulong Seed, long Tick, string Check, string What, IReadOnlyList<string> LastActions, string Command)
{
    internal FailureDocument(ulong seed, RunFailure failure, string command)
        : this(seed, failure.Tick, failure.Check, failure.What, failure.LastActions, command)
    {
    }
}

internal sealed record MutantsDocument(string Commit, IReadOnlyList<MutantDocument> Mutants);

internal sealed record MutantDocument(
    string Mutant, bool Caught, int Seeds, long Ticks, string? Check, string? What, string Command);

internal sealed record ExitsDocument(IReadOnlyList<ExitRow> ExitsPerPage);

internal sealed record ExhaustiveDocument(
    string Commit, bool Passed, int Actions, long Histories, int Moments, long PagesMerged, FailureDocument? Failure);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(SimulateDocument))]
[JsonSerializable(typeof(MutantsDocument))]
[JsonSerializable(typeof(ExitsDocument))]
[JsonSerializable(typeof(ExhaustiveDocument))]
internal sealed partial class SimulateJson : JsonSerializerContext;
