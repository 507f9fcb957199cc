using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Samepage.Cli.Verbs;
using Samepage.Daemon;

namespace Samepage.Cli;

/// <summary>All verbs, and what is the same for each: help with examples, one error line, exit codes.</summary>
internal static class CommandLine
{
    /// <summary>How every error line begins.</summary>
    internal const string ErrorPrefix = "samepage: ";

    internal static int Run(string[] args, Terminal terminal)
    {
        var root = Build(terminal, args.Length > 0 ? args[0] : null);
        ParseResult parsed = root.Parse(RunVerb.SeparateCommand(args));
        if (parsed.Errors.Count > 0 && parsed.Action is not HelpAction and not ExampleHelp)
        {
            var verb = parsed.CommandResult.Command;
            var hint = verb is RootCommand ? "samepage --help" : $"samepage {verb.Name} --help";
            terminal.Error.WriteLine($"{ErrorPrefix}{OneLine(parsed.Errors[0].Message)}; see {hint}");
            return (int)ExitCode.Usage;
        }

        return parsed.Invoke(new InvocationConfiguration
        {
            Output = terminal.Out,
            Error = terminal.Error,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = null,
        });
    }

    /// <summary>The root with all verbs, or with the one of that name.</summary>
    internal static RootCommand Build(Terminal terminal, string? only = null)
    {
        var root = new RootCommand("Merges identical memory pages of running processes.");
        foreach (var verb in Verb.Named(only, terminal))
        {
            root.Subcommands.Add(verb);
        }

        root.SetAction(_ =>
        {
            terminal.Error.WriteLine($"{ErrorPrefix}give a verb; see samepage --help");
            return (int)ExitCode.Usage;
        });
        foreach (var help in root.Options.OfType<HelpOption>())
        {
            help.Action = new ExampleHelp((HelpAction)help.Action!);
        }

        return root;
    }

    /// <summary>Runs a verb: whatever goes wrong becomes one line and an exit code.</summary>
    internal static int Guard(Terminal terminal, Func<int> verb) => Guard(() => terminal, verb);

    /// <summary>The same; the terminal is made when something is said there.</summary>
    internal static int Guard(Func<Terminal> terminal, Func<int> verb)
    {
        try
        {
            return verb();
        }
        catch (RequestException error)
        {
            terminal().Error.WriteLine(ErrorPrefix + OneLine(error.Message));
            return (int)error.Code;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            terminal().Error.WriteLine(ErrorPrefix + OneLine(error.Message));
            return (int)(error is UnauthorizedAccessException ? ExitCode.NotPermitted : ExitCode.Failed);
        }
    }

    private static string OneLine(string text) => text.ReplaceLineEndings(" ").TrimEnd('.', ' ');

    /// <summary>The usual help and then the verb's examples.</summary>
    private sealed class ExampleHelp(HelpAction usual) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            var code = usual.Invoke(parseResult);
            var output = parseResult.InvocationConfiguration.Output;
            output.WriteLine("Examples:");
            foreach (var example in Examples.Of(parseResult.CommandResult.Command))
            {
                output.WriteLine("  " + example);
            }

            output.WriteLine();
            output.WriteLine("Exit codes: 0 done, 1 failed, 2 usage, 3 host not supported, 4 not permitted, "
                + "5 no such process or region.");
            return code;
        }
    }
}
