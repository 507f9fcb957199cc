using System.CommandLine;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class GetVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var name = new Argument<string?>("KNOB")
        {
            Description = "One knob; all of them by default",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var verb = new Command("get", "Show knobs.") { name, socket, json };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
            parsed.GetValue(name) is { } one
                ? PrintOne(terminal, client, one, parsed.GetValue(json))
                : PrintAll(terminal, client, parsed.GetValue(json)));
        return verb;
    }

    private static int PrintOne(Terminal terminal, DaemonClient client, string name, bool json)
    {
        var knob = client.Get("GET", "/v1/knobs/" + Uri.EscapeDataString(name));
        if (json)
        {
            return Verb.PrintJson(terminal, knob);
        }

        terminal.Out.WriteLine(Requests.Parse(knob, ApiJson.Default.KnobDocument).Value);
        return 0;
    }

    private static int PrintAll(Terminal terminal, DaemonClient client, bool json)
    {
        var knobs = client.Get("GET", "/v1/knobs");
        if (json)
        {
            return Verb.PrintJson(terminal, knobs);
        }

        Table.Print(
            terminal,
            ["Knob", "Value", "Default", "Values", "Meaning"],
            Requests.Parse(knobs, ApiJson.Default.KnobsDocument).Knobs.Select(knob => new[]
            {
                knob.Name, knob.Value, knob.Default, knob.Values, knob.Meaning,
            }),
            textColumns: 5);
        return 0;
    }
}
