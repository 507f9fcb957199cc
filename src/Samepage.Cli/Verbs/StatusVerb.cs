using System.CommandLine;
using System.Text;
using Samepage.Cli.Client;
using Samepage.Cli.Output;

namespace Samepage.Cli.Verbs;

/// <summary>The long way of status; <see cref="LeanStatus"/> is the usual one.</summary>
internal static class StatusVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var verb = new Command("status", "Show what is merged and what it costs.") { socket, json };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
        {
            var status = client.Get("GET", "/v1/status");
            if (parsed.GetValue(json))
            {
                return Verb.PrintJson(terminal, status);
            }

            terminal.Out.Write(Encoding.UTF8.GetString(StatusText.Of(status)));
            return 0;
        });
        return verb;
    }
}
