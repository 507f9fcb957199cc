using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class MergeVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var pids = Verb.Pids(ArgumentArity.ZeroOrMore);
        var verb = new Command("merge", "Scan and merge now until nothing is left to merge.") { pids, socket, json };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
        {
            var result = client.Work("/v1/merge", parsed.GetValue(pids) ?? [], new Progress(terminal)).Merged
                ?? throw new IOException("the daemon gave no result");
            if (parsed.GetValue(json))
            {
                return Verb.PrintJson(
                    terminal, JsonSerializer.SerializeToUtf8Bytes(result, ApiJson.Default.MergeDocument));
            }

            Print(terminal, result);
            return 0;
        });
        return verb;
    }

    private static void Print(Terminal terminal, MergeDocument result)
    {
        if (result.Targets.Count > 0)
        {
            Table.Print(
                terminal,
                ["PID", "Name", "Merged", "Zero", "Saved"],
                result.Targets.Select(target => new[]
                {
                    target.Pid.ToString(CultureInfo.InvariantCulture),
                    target.Name,
                    Amounts.Count(target.PagesMerged),
                    Amounts.Count(target.ZeroPages),
                    Amounts.Bytes(target.BytesSaved),
                }),
                textColumns: 2);
        }

        terminal.Out.WriteLine($"{Amounts.Bytes(result.BytesSaved)} saved: {Amounts.Count(result.PagesMerged)} pages "
            + $"merged, {Amounts.Count(result.ZeroPages)} zero pages, in {Amounts.Seconds(result.ElapsedSeconds)} "
            + $"({Amounts.Seconds(result.CpuSeconds)} CPU)");
    }
}
