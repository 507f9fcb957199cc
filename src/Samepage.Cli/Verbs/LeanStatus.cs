using Samepage.Cli.Client;
using Samepage.Linux.Host;

namespace Samepage.Cli.Verbs;

/// <summary>
/// The short way of <c>samepage status</c>: one question over a raw socket and the answer straight to descriptor 1.
/// Anything unusual (other options, no daemon, a refusal) is left to the long way.
/// </summary>
internal static class LeanStatus
{
    internal static int? TryRun(string[] args)
    {
        if (args.Length == 0 || args[0] != "status" || !TryOptions(args, out var json, out var socket))
        {
            return null;
        }

        try
        {
            using var client = DaemonClient.TryConnect(socket ?? Defaults.Socket, out _);
            if (client is null)
            {
                return null;
            }

            var (status, body) = client.Send(
                "GET", "/v1/status", default, json ? DaemonClient.Json : DaemonClient.PlainText);
            if (status != 200)
            {
                return null;
            }

            StandardStreams.Write(StandardStreams.Output, json ? [.. body, (byte)'\n'] : body);
            return 0;
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static bool TryOptions(string[] args, out bool json, out string? socket)
    {
        json = false;
        socket = null;
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
            else
            {
                return false;
            }
        }

        return true;
    }
}
