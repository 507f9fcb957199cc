using System.CommandLine;
using Samepage.Cli.Client;

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
            if (parsed.GetValue(json))
            {
                return Verb.PrintJson(terminal, client.Get("GET", "/v1/status"));
            }

            terminal.Out.Write(client.StatusText());
            return 0;
        });
        return verb;
    }
}
