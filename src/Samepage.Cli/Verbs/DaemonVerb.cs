using System.CommandLine;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Samepage.Cli.Client;
using Samepage.Daemon;
using Samepage.Daemon.Hosting;
using Samepage.Daemon.Live;

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
            var code = CommandLine.Guard(terminal, () => Host(new Settings(
                parsed.GetRequiredValue(socket),
                parsed.GetValue(unmerge),
                parsed.GetValue(json),
                parsed.GetValue(verbose),
                parsed.GetValue(detached),
                Environment.GetEnvironmentVariable("SAMEPAGE_LOG"))));
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
    private static int Host(Settings settings)
    {
        var program = Environment.ProcessPath
            ?? throw new RequestException(
                ExitCode.Failed, "this program's own path is unknown: no keeper can be started");
        string[] again =
        [
            program, "daemon", "--socket", Path.GetFullPath(settings.Socket),
            .. Flag(settings.UnmergeOnExit, "--unmerge-on-exit"),
            .. Flag(settings.JsonLog, "--json"),
            .. Flag(settings.Verbose, "--verbose"),
        ];
        using var keeper = new KeeperLink(program, settings.Socket, again, settings.LogFile);
        DaemonHost.Run(new DaemonOptions
        {
            Socket = settings.Socket,
            UnmergeOnExit = settings.UnmergeOnExit,
            JsonLog = settings.JsonLog,
            LogLevel = settings.Verbose ? LogLevel.Debug : LogLevel.Information,
            Detached = settings.Detached,
            LogFile = settings.LogFile,
            OpenTargets = () => LiveTargets.Open(keeper, Path.GetFullPath(settings.Socket)),
            Keeper = keeper,
        }).GetAwaiter().GetResult();
        return 0;
    }

    private static string[] Flag(bool given, string name) => given ? [name] : [];

    private sealed record Settings(
        string Socket, bool UnmergeOnExit, bool JsonLog, bool Verbose, bool Detached, string? LogFile);
}
