using System.CommandLine;
using System.Text.Json;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class UnmergeVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var pids = Verb.Pids(ArgumentArity.ZeroOrMore);
        var verb = new Command("unmerge", "Give processes private copies of their merged pages; they stay attached.")
        {
            pids, socket, json,
        };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
        {
            var result = client.Work("/v1/unmerge", parsed.GetValue(pids) ?? [], new Progress(terminal)).Unmerged
                ?? throw new IOException("the daemon gave no result");
            if (parsed.GetValue(json))
            {
                Verb.PrintJson(
                    terminal, JsonSerializer.SerializeToUtf8Bytes(result, ApiJson.Default.UnmergeDocument));
            }
            else
            {
                terminal.Out.WriteLine($"{Amounts.Count(result.PagesUnmerged)} pages private again in "
                    + $"{result.Targets.Count} processes, in {Amounts.Seconds(result.ElapsedSeconds)}");
            }

            return result.PagesLeft == 0 ? 0 : throw new RequestException(
                ExitCode.Failed, $"{result.PagesLeft} pages are still merged: run it again");
        });
        return verb;
    }
}
