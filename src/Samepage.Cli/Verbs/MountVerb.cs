using System.CommandLine;
using System.Text.Json;
using Samepage.Cli.Client;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class MountVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var directory = Directory();
        var view = new Option<string>("--view")
        {
            Description = "Whose files: v4 (April 2009), merged (June 2009) or modern (Linux 6.x)",
            HelpName = "VIEW",
            DefaultValueFactory = _ => "modern",
        };
        view.AcceptOnlyFromAmong("v4", "merged", "modern");
        var verb = new Command("mount", "Mount KSM's admin files at a directory.") { directory, view, socket, json };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
        {
            var body = new MountBody
            {
                View = parsed.GetRequiredValue(view),
                Path = Path.GetFullPath(parsed.GetRequiredValue(directory)),
            };
            var answer = client.Get(
                "POST", "/v1/mounts", JsonSerializer.SerializeToUtf8Bytes(body, ApiJson.Default.MountBody));
            return parsed.GetValue(json) ? Verb.PrintJson(terminal, answer) : 0;
        });
        return verb;
    }

    internal static Argument<string> Directory() => new("DIR") { Description = "A directory" };
}
