using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon.Api;
using Samepage.Linux.Host;

namespace Samepage.Cli.Verbs;

/// <summary>
/// The short way of <c>samepage merge --json</c>: the daemon's result goes to descriptor 1 as it came. What the command
/// line parser and the serializer take to start is a good part of a short merge. Anything unusual (other options, no
/// daemon, a person who watches) is left to the long way, before the daemon has been asked for anything.
/// </summary>
internal static class LeanMerge
{
    // Work that takes longer shows how far it is, and then the serializer's start does not matter.
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(4);

    internal static int? TryRun(string[] args)
    {
        if (args.Length == 0 || args[0] != "merge" || !TryOptions(args, out var pids, out var socket)
            || !Console.IsErrorRedirected)
        {
            return null;
        }

        using var client = DaemonClient.TryConnect(socket, out _);
        return client is null ? null : CommandLine.Guard(() => Terminal.Standard, () => Run(client, pids));
    }

    private static int Run(DaemonClient client, HashSet<int> pids)
    {
        var start = Stopwatch.GetTimestamp();
        Action<byte[]>? show = null;
        byte[] last = [];
        client.Work("/v1/merge", pids, line =>
        {
            last = line;
            if (Stopwatch.GetElapsedTime(start) > Quiet)
            {
                show ??= Shower();
                show(line);
            }
        });
        if (!TryResult(last, out var result))
        {
            Requests.Result(last.Length == 0 ? null : Requests.Parse(last, ApiJson.Default.StreamLine));
            throw new IOException("the daemon gave no result");
        }

        StandardStreams.Write(StandardStreams.Output, result);
        return 0;
    }

    private static Action<byte[]> Shower()
    {
        var progress = new Progress(Terminal.Standard);
        return line =>
        {
            if (Requests.Parse(line, ApiJson.Default.StreamLine).Progress is { } done)
            {
                progress.Show(done);
            }
        };
    }

    private static bool TryResult(byte[] line, out byte[] result)
    {
        result = [];
        if (line.Length == 0)
        {
            return false;
        }

        using var document = JsonDocument.Parse(line);
        if (!document.RootElement.TryGetProperty("merged", out var merged))
        {
            return false;
        }

        result = System.Text.Encoding.UTF8.GetBytes(merged.GetRawText() + "\n");
        return true;
    }

    private static bool TryOptions(string[] args, out HashSet<int> pids, out string socket)
    {
        pids = [];
        socket = Defaults.Socket;
        var json = false;
        for (var i = 1; i < args.Length; i++)
        {
            if (args[i] == "--json")
            {
                json = true;
            }
            else if (args[i] == "--socket" && i + 1 < args.Length)
            {
                socket = args[++i];
            }
            else if (int.TryParse(args[i], NumberStyles.None, CultureInfo.InvariantCulture, out var pid) && pid > 0)
            {
                pids.Add(pid);
            }
            else
            {
                return false;
            }
        }

        return json;
    }
}
