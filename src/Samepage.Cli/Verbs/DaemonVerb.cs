using System.CommandLine;
using System.Runtime.CompilerServices;
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
            var code = CommandLine.Guard(terminal, () => Host(new DaemonOptions
            {
                Socket = parsed.GetRequiredValue(socket),
                UnmergeOnExit = parsed.GetValue(unmerge),
                JsonLog = parsed.GetValue(json),
                Verbose = parsed.GetValue(verbose),
                Detached = parsed.GetValue(detached),
                LogFile = Environment.GetEnvironmentVariable("SAMEPAGE_LOG"),
                OpenTargets = LiveTargets.Open,
                Keeper = new NoStateKeeper(),
            }));
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
    private static int Host(DaemonOptions options)
    {
        DaemonHost.Run(options).GetAwaiter().GetResult();
        return 0;
    }
}
