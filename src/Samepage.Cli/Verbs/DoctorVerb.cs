using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Linux.Host;

namespace Samepage.Cli.Verbs;

/// <summary>What this host has and lacks. Needs no daemon.</summary>
internal static class DoctorVerb
{
    internal static Command Create(Terminal terminal)
    {
        var json = Verb.Json();
        var verb = new Command("doctor", "Check what this host has and lacks.") { json };
        verb.SetAction(parsed => CommandLine.Guard(terminal, () => Report(
            terminal, HostChecks(), parsed.GetValue(json))));
        return verb;
    }

    internal static int Report(Terminal terminal, IReadOnlyList<KernelFeature> features, bool json)
    {
        var obstacles = features.Where(feature => feature.IsObstacle).ToList();
        if (json)
        {
            var document = new DoctorDocument(obstacles.Count == 0, [.. features.Select(feature =>
                new DoctorCheckDocument(feature.Name, State(feature), feature.Detail, feature.Remedy))]);
            terminal.Out.WriteLine(JsonSerializer.Serialize(document, DoctorJson.Default.DoctorDocument));
        }
        else
        {
            Table.Print(
                terminal,
                ["", "Requirement", "Found", "How to get it"],
                features.Select(feature => new[] { State(feature), feature.Name, feature.Detail, feature.Remedy }),
                textColumns: 4);
        }

        if (obstacles.Count > 0)
        {
            terminal.Error.WriteLine($"{CommandLine.ErrorPrefix}this host lacks: "
                + string.Join(", ", obstacles.Select(feature => feature.Name)));
        }

        return (int)(obstacles.Count == 0 ? ExitCode.Done : ExitCode.HostNotSupported);
    }

    private static string State(KernelFeature feature) =>
        feature.IsObstacle ? "missing" : feature.State == FeatureState.Present ? "ok" : "warning";

    private static IReadOnlyList<KernelFeature> HostChecks()
    {
        KernelFeatures host = KernelFeatures.Probe();
        return [.. host.All.Select(feature => Ksmd(feature, host.IsKsmdRunning)), Swap()];
    }

    // Present, but not to be wished for: the one feature whose presence deserves a warning.
    private static KernelFeature Ksmd(KernelFeature feature, bool running) => feature.Name == "ksmd"
        ? feature with
        {
            State = running ? FeatureState.Unknown : FeatureState.Present,
            Remedy = running ? "echo 2 > /sys/kernel/mm/ksm/run, if nobody uses it" : "",
        }
        : feature;

    private static KernelFeature Swap()
    {
        var areas = File.Exists("/proc/swaps") ? File.ReadAllLines("/proc/swaps").Length - 1 : 0;
        return new KernelFeature(
            "swap",
            FeatureState.Present,
            IsRequired: false,
            areas <= 0 ? "none" : $"{areas} areas; swapped pages are merged when they come back");
    }
}

internal sealed record DoctorDocument(bool Supported, IReadOnlyList<DoctorCheckDocument> Checks);

internal sealed record DoctorCheckDocument(string Name, string State, string Found, string Hint);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(DoctorDocument))]
internal sealed partial class DoctorJson : JsonSerializerContext;
