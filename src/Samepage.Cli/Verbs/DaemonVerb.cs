using System.CommandLine;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Samepage.Cli.Client;
using Samepage.Daemon;
using Samepage.Daemon.Hosting;
using Samepage.Daemon.Live;
using Samepage.Linux.Keeper;

namespace Samepage.Cli.Verbs;

internal static class DaemonVerb
{
    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var unmerge = new Option<bool>("--unmerge-on-exit")
        {
            Description = "When asked to end, give every process its private pages back first",
        };
        var json = new Option<bool>("--json") { Description = "Log as JSON lines (on standard error, as always)" };
        var verbose = new Option<bool>("--verbose") { Description = "Log more" };
        var detached = new Option<bool>("--detached") { Hidden = true };
        var verb = new Command("daemon", "Run the daemon in the foreground.")
        {
            socket, unmerge, json, verbose, detached,
        };
        verb.SetAction(parsed =>
        {
            var code = CommandLine.Guard(terminal, () => Host(
                Path.GetFullPath(parsed.GetRequiredValue(socket)),
                parsed.GetValue(unmerge),
                parsed.GetValue(json),
                parsed.GetValue(verbose),
                parsed.GetValue(detached)));
            if (code != 0 && parsed.GetValue(detached))
            {
                terminal.Error.WriteLine(DaemonStarter.ExitCodePrefix + code);
            }

            return code;
        });
        return verb;
    }

    // Of its own, so that no other verb loads the web server.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Host(string socket, bool unmerge, bool json, bool verbose, bool detached)
    {
        var log = Environment.GetEnvironmentVariable("SAMEPAGE_LOG");
        var program = Environment.ProcessPath
            ?? throw new RequestException(ExitCode.Failed, "this program's own path is unknown");
        var keeperSocket = KeeperLink.SocketFor(socket);
        using var keeper = new KeeperLink(
            new KeeperStartInfo([program, "keeper", "--socket", keeperSocket, .. Log(log)], keeperSocket, log),
            [program, "daemon", "--socket", socket, .. Flag(unmerge, "--unmerge-on-exit"), .. Flag(json, "--json")]);
        DaemonHost.Run(new DaemonOptions
        {
            Socket = socket,
            UnmergeOnExit = unmerge,
            JsonLog = json,
            LogLevel = verbose ? LogLevel.Debug : LogLevel.Information,
            Detached = detached,
            LogFile = log,
            OpenTargets = () => LiveTargets.Open(keeper),
            Keeper = keeper,
        }).GetAwaiter().GetResult();
        return 0;
    }

    private static string[] Log(string? path) => path is null ? [] : ["--log", path];

    private static string[] Flag(bool given, string name) => given ? [name] : [];
}
