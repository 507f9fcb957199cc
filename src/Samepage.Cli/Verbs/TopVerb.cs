using System.CommandLine;
using System.Text;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

/// <summary>Status and list together, refreshed; once only with --json or when nobody watches.</summary>
internal static class TopVerb
{
    private const string ClearScreen = "\u001b[H\u001b[2J";

    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var seconds = new Option<double>("--interval")
        {
            Description = "Seconds between two looks, 0.1 to 3600",
            HelpName = "SECONDS",
            DefaultValueFactory = _ => 1,
        };
        seconds.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<double>() is not (>= 0.1 and <= 3600))
            {
                result.AddError("--interval must be 0.1 to 3600 seconds");
            }
        });
        var verb = new Command("top", "Watch attached processes and counters.") { socket, json, seconds };
        verb.SetDaemonAction(terminal, socket, (parsed, client) =>
            parsed.GetValue(json)
                ? PrintOnce(terminal, client)
                : Watch(terminal, client, TimeSpan.FromSeconds(parsed.GetValue(seconds))));
        return verb;
    }

    private static int PrintOnce(Terminal terminal, DaemonClient client)
    {
        var status = Encoding.UTF8.GetString(client.Get("GET", "/v1/status"));
        var targets = Encoding.UTF8.GetString(client.Get("GET", "/v1/targets"));
        terminal.Out.WriteLine($"{{\"status\":{status},{targets[1..]}");
        return 0;
    }

    private static int Watch(Terminal terminal, DaemonClient client, TimeSpan interval)
    {
        while (true)
        {
            var status = client.StatusText();
            var targets = client.Get("/v1/targets", ApiJson.Default.TargetsDocument);
            terminal.Out.Write(terminal.OutIsTerminal ? ClearScreen : "");
            terminal.Out.WriteLine(status);
            TargetsTable.Print(terminal, targets);
            terminal.Out.Flush();
            if (!terminal.OutIsTerminal)
            {
                return 0;
            }

            Thread.Sleep(interval);
        }
    }
}
