using System.CommandLine;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class ListVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var verb = new Command("list", "List attached processes.") { socket, json };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
        {
            var targets = client.Get("GET", "/v1/targets");
            if (parsed.GetValue(json))
            {
                return Verb.PrintJson(terminal, targets);
            }

            TargetsTable.Print(terminal, Requests.Parse(targets, ApiJson.Default.TargetsDocument));
            return 0;
        });
        return verb;
    }
}
