using System.CommandLine;
using System.Text;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class AttachVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var pids = Verb.Pids(ArgumentArity.OneOrMore);
        var domain = Domain();
        var ranges = new Option<string[]>("--range")
        {
            Description = "Only these addresses, hexadecimal and page aligned; may be given again",
            HelpName = "START-END",
        };
        var verb = new Command("attach", "Merge memory of running processes from now on.")
        {
            pids, ranges, domain, socket, json,
        };
        verb.SetAction(parsed => CommandLine.Guard(terminal, () =>
        {
            // Looked at before a daemon is started for nothing.
            var spans = parsed.GetValue(ranges);
            Ranges.Parse(spans);
            Domains.Check(parsed.GetValue(domain));
            using var client = DaemonStarter.Connect(parsed.GetRequiredValue(socket));
            var targets = AttachAll(client, parsed.GetRequiredValue(pids), parsed.GetValue(domain), spans);
            return Print(terminal, targets, parsed.GetValue(json));
        }));
        return verb;
    }

    internal static Option<string?> Domain() => new("--domain")
    {
        Description = "Trust domain: pages are shared only inside one; the process's user by default",
        HelpName = "DOMAIN",
    };

    // All or none: a refusal takes back what this command has attached before it.
    private static List<byte[]> AttachAll(DaemonClient client, int[] pids, string? domain, string[]? ranges)
    {
        var done = new List<byte[]>();
        try
        {
            foreach (var pid in pids)
            {
                done.Add(client.Attach(new AttachBody { Pid = pid, Domain = domain, Ranges = ranges }));
            }
        }
        catch (RequestException)
        {
            foreach (var pid in pids.Take(done.Count))
            {
                client.Send("DELETE", $"/v1/targets/{pid}");
            }

            throw;
        }

        return done;
    }

    private static int Print(Terminal terminal, List<byte[]> targets, bool json)
    {
        if (json)
        {
            terminal.Out.WriteLine($"{{\"targets\":[{string.Join(',', targets.Select(Encoding.UTF8.GetString))}]}}");
            return 0;
        }

        foreach (var target in targets.Select(target => Requests.Parse(target, ApiJson.Default.TargetDocument)))
        {
            terminal.Out.WriteLine($"attached {target.Pid} ({target.Name}) in domain {target.Domain}: "
                + $"{target.Regions} regions, {Amounts.Bytes(target.RegisteredPages * PageSize.Bytes)}");
        }

        return 0;
    }
}
