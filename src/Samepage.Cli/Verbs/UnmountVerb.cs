using System.CommandLine;
using Samepage.Cli.Client;

namespace Samepage.Cli.Verbs;

internal static class UnmountVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var directory = MountVerb.Directory();
        var lazy = new Option<bool>("--lazy")
        {
            Description = "Also while it is in use: its users keep it until they leave it",
        };
        var verb = new Command("unmount", "Unmount KSM's admin files.") { directory, lazy, socket, json };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
        {
            var path = Uri.EscapeDataString(Path.GetFullPath(parsed.GetRequiredValue(directory)));
            var answer = client.Get(
                "DELETE", $"/v1/mounts?path={path}&lazy={(parsed.GetValue(lazy) ? "true" : "false")}");
            return parsed.GetValue(json) ? Verb.PrintJson(terminal, answer) : 0;
        });
        return verb;
    }
}
