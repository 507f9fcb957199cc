using System.CommandLine;
using System.Text;
using Samepage.Cli.Client;

namespace Samepage.Cli.Verbs;

internal static class SetVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var settings = new Argument<string[]>("KNOB=VALUE")
        {
            Description = "Knobs and their new values, set in this order",
            Arity = ArgumentArity.OneOrMore,
        };
        settings.Validators.Add(result =>
        {
            foreach (var token in result.Tokens.Where(token => token.Value.IndexOf('=', StringComparison.Ordinal) < 1))
            {
                result.AddError($"\"{token.Value}\" is not a setting: write KNOB=VALUE");
            }
        });
        var verb = new Command("set", "Set knobs.") { settings, socket, json };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
            Set(terminal, client, parsed.GetRequiredValue(settings), parsed.GetValue(json)));
        return verb;
    }

    private static int Set(Terminal terminal, DaemonClient client, string[] settings, bool json)
    {
        var done = new List<string>();
        foreach (var setting in settings)
        {
            var equals = setting.IndexOf('=', StringComparison.Ordinal);
            done.Add(Encoding.UTF8.GetString(client.SetKnob(setting[..equals], setting[(equals + 1)..])));
        }

        if (json)
        {
            terminal.Out.WriteLine($"{{\"knobs\":[{string.Join(',', done)}]}}");
        }

        return 0;
    }
}
