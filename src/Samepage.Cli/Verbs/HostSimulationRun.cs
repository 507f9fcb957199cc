using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;
using Samepage.Simulation.Hosts;

namespace Samepage.Cli.Verbs;

/// <summary>samepage simulate --host FILE.</summary>
internal static class HostSimulationRun
{
    internal static ExitCode Run(Terminal terminal, string file, string? svg, bool json, HostOptions options)
    {
        HostDescription host;
        try
        {
            host = HostFile.Parse(File.ReadAllText(file));
        }
        catch (HostFileException error)
        {
            terminal.Error.WriteLine($"{CommandLine.ErrorPrefix}{file}: {error.Message}");
            return ExitCode.Usage;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            terminal.Error.WriteLine($"{CommandLine.ErrorPrefix}{file} cannot be read: {error.Message}");
            return ExitCode.Usage;
        }

        var progress = new Progress(terminal);
        HostResult result = HostSimulation.Run(
            host, options, CostModel.BuiltIn, new Teller(progress), CancellationToken.None);
        progress.Clear();
        if (svg is not null)
        {
            File.WriteAllText(svg, SavingPlot.Draw(result));
        }

        if (json)
        {
            terminal.Out.WriteLine(JsonSerializer.Serialize(result, HostJson.Default.HostResult));
        }
        else
        {
            Print(terminal, result);
        }

        return ExitCode.Done;
    }

    private static void Print(Terminal terminal, HostResult result)
    {
        terminal.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{Amounts.Bytes((long)result.HostBytes)} of guests for {TimeSpan.FromSeconds(result.Seconds):c}, by "
            + $"{result.SampledPages:N0} sampled pages; {Amounts.Bytes((long)result.PossibleBytes)} equal at the end"));
        Table.Print(
            terminal,
            ["Merged by", "Saved", "+- (95 %)", "Of possible", "90 % after", "CPU s", "CPU %", "Passes"],
            result.Mergers.Select(one => new[]
            {
                one.Name, Amounts.Bytes((long)one.SavedBytes), Amounts.Bytes((long)one.ErrorBytes),
                Text($"{one.ShareOfPossible:P0}"), one.ConvergedSeconds is { } seconds ? Text($"{seconds:N0} s") : "never",
                Text($"{one.CpuSeconds:N1}"), Text($"{one.CpuPercent:N2}"), Text($"{one.FullScans:N0}"),
            }));
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private sealed class Teller(Progress progress) : IProgress<(string What, double Done)>
    {
        public void Report((string What, double Done) value) => progress.Show(string.Create(
            CultureInfo.InvariantCulture, $"{value.What}: {value.Done:P0}"));
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(HostResult))]
internal sealed partial class HostJson : JsonSerializerContext;
