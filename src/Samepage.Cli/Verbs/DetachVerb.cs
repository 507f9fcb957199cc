using System.CommandLine;
using System.Text;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class DetachVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var pids = Verb.Pids(ArgumentArity.ZeroOrMore);
        var all = new Option<bool>("--all") { Description = "Every attached process" };
        var verb = new Command("detach", "Give processes their private pages back and leave no trace in them.")
        {
            pids, all, socket, json,
        };
        verb.Validators.Add(result =>
        {
            if (result.GetValue(all) == (result.GetValue(pids) is { Length: > 0 }))
            {
                result.AddError("give process ids, or --all");
            }
        });
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
        {
            var chosen = parsed.GetValue(all)
                ? [.. client.Get("/v1/targets", ApiJson.Default.TargetsDocument).Targets.Select(target => target.Pid)]
                : parsed.GetRequiredValue(pids);
            return Detach(terminal, client, chosen, parsed.GetValue(json));
        });
        return verb;
    }

    private static int Detach(Terminal terminal, DaemonClient client, int[] pids, bool json)
    {
        var progress = new Progress(terminal);
        var done = new List<string>();
        RequestException? refused = null;
        foreach (var pid in pids)
        {
            progress.Show($"detach: process {pid}");
            try
            {
                done.Add(Encoding.UTF8.GetString(client.Get("DELETE", $"/v1/targets/{pid}")));
            }
            catch (RequestException error)
            {
                // The others are still detached; the first refusal decides the exit code.
                refused ??= error;
            }
        }

        progress.Clear();
        Print(terminal, done, json);
        return refused is null ? 0 : throw refused;
    }

    private static void Print(Terminal terminal, List<string> done, bool json)
    {
        if (json)
        {
            terminal.Out.WriteLine($"{{\"detached\":[{string.Join(',', done)}]}}");
            return;
        }

        foreach (var text in done)
        {
            var result = Requests.Parse(Encoding.UTF8.GetBytes(text), ApiJson.Default.UnmergeDocument);
            foreach (var target in result.Targets)
            {
                terminal.Out.WriteLine(
                    $"detached {target.Pid} ({target.Name}): "
                    + $"{Amounts.Count(result.PagesUnmerged)} pages private again");
            }
        }
    }
}
