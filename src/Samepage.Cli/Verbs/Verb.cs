using System.CommandLine;
using Samepage.Cli.Client;

namespace Samepage.Cli.Verbs;

/// <summary>What verbs have in common.</summary>
internal static class Verb
{
    internal static IEnumerable<Command> All(Terminal terminal) =>
    [
        DemoVerb.Create(terminal),
        DaemonVerb.Create(terminal),
        DoctorVerb.Create(terminal),
        StatusVerb.Create(terminal),
        ListVerb.Create(terminal),
        TopVerb.Create(terminal),
        RunVerb.Create(terminal),
        AttachVerb.Create(terminal),
        DetachVerb.Create(terminal),
        MergeVerb.Create(terminal),
        UnmergeVerb.Create(terminal),
        GetVerb.Create(terminal),
        SetVerb.Create(terminal),
        MountVerb.Create(terminal),
        UnmountVerb.Create(terminal),
        DemoWorkerVerb.Create(),
    ];

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
