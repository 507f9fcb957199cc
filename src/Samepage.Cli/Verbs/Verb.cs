using System.CommandLine;
using Samepage.Cli.Client;

namespace Samepage.Cli.Verbs;

/// <summary>What verbs have in common.</summary>
internal static class Verb
{
    private static readonly (string Name, Func<Terminal, Command> Create)[] Verbs =
    [
        ("demo", DemoVerb.Create),
        ("daemon", DaemonVerb.Create),
        ("doctor", DoctorVerb.Create),
        ("status", StatusVerb.Create),
        ("list", ListVerb.Create),
        ("top", TopVerb.Create),
        ("run", RunVerb.Create),
        ("attach", AttachVerb.Create),
        ("detach", DetachVerb.Create),
        ("merge", MergeVerb.Create),
        ("unmerge", UnmergeVerb.Create),
        ("get", GetVerb.Create),
        ("set", SetVerb.Create),
        ("simulate", SimulateVerb.Create),
        ("mount", MountVerb.Create),
        ("unmount", UnmountVerb.Create),
        (DemoWorkerVerb.Name, _ => DemoWorkerVerb.Create()),
    ];

    /// <summary>
    /// The verb of that name alone, or all where there is none of that name: making the others takes longer than the
    /// rest of a short command.
    /// </summary>
    internal static IEnumerable<Command> Named(string? name, Terminal terminal)
    {
        var chosen = Array.FindIndex(Verbs, verb => verb.Name == name);
        return chosen < 0 ? Verbs.Select(verb => verb.Create(terminal)) : [Verbs[chosen].Create(terminal)];
    }

    /// <summary>--socket, on every verb that talks to a daemon.</summary>
    internal static Option<string> Socket() => new("--socket")
    {
        Description = "The daemon's socket",
        HelpName = "PATH",
        DefaultValueFactory = _ => Defaults.Socket,
    };

    /// <summary>--json, on every verb.</summary>
    internal static Option<bool> Json() => new("--json")
    {
        Description = "Print one JSON object on standard output and nothing else there",
    };

    /// <summary>Process ids as arguments.</summary>
    internal static Argument<int[]> Pids(ArgumentArity arity) => new("PID")
    {
        Description = "Process ids",
        Arity = arity,
        CustomParser = result =>
        {
            var pids = new List<int>();
            foreach (var token in result.Tokens)
            {
                if (!int.TryParse(token.Value, out var pid) || pid <= 0)
                {
                    result.AddError($"\"{token.Value}\" is not a process id: give a positive number");
                    return [];
                }

                pids.Add(pid);
            }

            return [.. pids.Distinct()];
        },
    };

    /// <summary>A verb that asks the daemon, starting one if necessary.</summary>
    internal static void SetDaemonAction(
        this Command verb, Terminal terminal, Option<string> socket, Func<ParseResult, DaemonClient, int> action) =>
        verb.SetAction(parsed => CommandLine.Guard(terminal, () =>
        {
            using var client = DaemonStarter.Connect(parsed.GetRequiredValue(socket));
            return action(parsed, client);
        }));

    /// <summary>The answer as it came, for --json.</summary>
    internal static int PrintJson(Terminal terminal, ReadOnlySpan<byte> json)
    {
        terminal.Out.WriteLine(System.Text.Encoding.UTF8.GetString(json));
        return 0;
    }
}
