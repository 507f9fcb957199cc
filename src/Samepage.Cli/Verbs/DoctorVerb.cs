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
            terminal, HostChecks.All(), parsed.GetValue(json))));
        return verb;
    }

    internal static int Report(Terminal terminal, IReadOnlyList<HostCheck> checks, bool json)
    {
        var supported = checks.All(check => check.Ok || !check.Needed);
        if (json)
        {
            var document = new DoctorDocument(supported, [.. checks.Select(check => new DoctorCheckDocument(
                check.Name, State(check), check.Found, check.Ok ? "" : check.Hint))]);
            terminal.Out.WriteLine(JsonSerializer.Serialize(document, DoctorJson.Default.DoctorDocument));
        }
        else
        {
            Table.Print(
                terminal,
                ["", "Requirement", "Found", "What to do"],
                checks.Select(check => new[] { State(check), check.Name, check.Found, check.Ok ? "" : check.Hint }),
                textColumns: 4);
        }

        if (!supported)
        {
            var missing = checks.Where(check => check is { Ok: false, Needed: true }).Select(check => check.Name);
            terminal.Error.WriteLine($"{CommandLine.ErrorPrefix}this host lacks: {string.Join(", ", missing)}");
        }

        return (int)(supported ? ExitCode.Done : ExitCode.HostNotSupported);
    }

    private static string State(HostCheck check) => check.Ok ? "ok" : check.Needed ? "missing" : "warning";
}

internal sealed record DoctorDocument(bool Supported, IReadOnlyList<DoctorCheckDocument> Checks);

internal sealed record DoctorCheckDocument(string Name, string State, string Found, string Hint);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(DoctorDocument))]
internal sealed partial class DoctorJson : JsonSerializerContext;
