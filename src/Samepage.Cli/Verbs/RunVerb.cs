using System.CommandLine;
using Samepage.Cli.Client;
using Samepage.Daemon;
using Samepage.Daemon.Api;
using Samepage.Linux.Host;
using Samepage.Linux.Interop;

namespace Samepage.Cli.Verbs;

/// <summary>
/// Becomes a command whose KSM calls are answered (or, with --all, whose memory is merged from its start on). The
/// daemon learns this process's id and gets the system call filter's listener beforehand; then this process executes
/// the command, so pid, parent, terminal and exit code are the command's own, and nothing of ours stands in between.
/// </summary>
internal static class RunVerb
{
    private static readonly string[] OptionsWithValue = ["--domain", "--socket", "--admin-view"];

    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        json.Hidden = true; // the output is the command's own
        var domain = AttachVerb.Domain();
        var all = new Option<bool>("--all")
        {
            Description = "Merge all memory of the command and of its children that can be merged, asked for or not",
        };
        var device = new Option<bool>("--dev-ksm")
        {
            Description = "Give the command a /dev/ksm as of 2009, in a mount namespace of its own",
        };
        var view = new Option<string?>("--admin-view")
        {
            Description = "Show the command these files at /sys/kernel/mm/ksm: modern, merged or v4",
            HelpName = "VIEW",
        };
        view.AcceptOnlyFromAmong("v4", "merged", "modern");
        var command = new Argument<string[]>("COMMAND")
        {
            Description = "The command and its arguments",
            Arity = ArgumentArity.OneOrMore,
        };
        var verb = new Command("run", "Run a command and merge what it registers by KSM's calls, or all it has.")
        {
            all, device, view, domain, socket, json, command,
        };
        verb.SetAction(parsed => CommandLine.Guard(terminal, () =>
        {
            Domains.Check(parsed.GetValue(domain));
            return Become(parsed.GetRequiredValue(command), parsed.GetRequiredValue(socket), new Wishes(
                parsed.GetValue(domain), parsed.GetValue(all), parsed.GetValue(device), parsed.GetValue(view)));
        }));
        return verb;
    }

    /// <summary>
    /// Puts "--" before the command where the user left it out: the command's own options are not ours to read.
    /// </summary>
    internal static string[] SeparateCommand(string[] args)
    {
        if (args.Length == 0 || args[0] != "run")
        {
            return args;
        }

        for (var i = 1; i < args.Length && args[i] != "--"; i++)
        {
            if (OptionsWithValue.Contains(args[i]))
            {
                i++;
            }
            else if (!args[i].StartsWith('-'))
            {
                return [.. args[..i], "--", .. args[i..]];
            }
        }

        return args;
    }

    private static int Become(string[] command, string socket, Wishes wishes)
    {
        var program = ProgramReplacement.Find(command[0])
            ?? throw new RequestException(ExitCode.NotFound, $"there is no program {command[0]}");
        using var client = DaemonStarter.Connect(socket);
        var announced = CommandStart.Prepare(client, wishes);
        var errno = ProgramReplacement.Execute(program, ProgramReplacement.LastArguments(command.Length));
        GC.KeepAlive(announced);
        throw errno == Errno.EACCES
            ? new RequestException(ExitCode.NotPermitted, $"{program} may not be executed")
            : new RequestException(ExitCode.Failed, $"{program} could not be executed (errno {errno})");
    }
}
