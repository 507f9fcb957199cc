using System.CommandLine;
using System.Globalization;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Simulation;
using Samepage.Simulation.Hosts;

namespace Samepage.Cli.Verbs;

/// <summary>The engine on a simulated machine. Needs no daemon, no privilege and touches no process.</summary>
internal static class SimulateVerb
{
    internal static Command Create(Terminal terminal)
    {
        var json = Verb.Json();
        var seed = Number("--seed", "N", "First seed", 1, 0, ulong.MaxValue);
        var ticks = Number(
            "--ticks", "N", "Scheduler decisions before everything must converge", 1000, 1, 1_000_000_000);
        var runs = Number("--runs", "N", "Histories to run, with consecutive seeds", 1, 1, 1_000_000);
        var exhaustive = Number(
            "--exhaustive", "ACTIONS", "Run all histories of a small world with up to that many actions", 1, 1, 3);
        var mutant = Mutants();
        var mutants = new Option<bool>("--mutants")
        {
            Description = "Hunt machines broken on purpose: each must be caught",
        };
        var exits = new Option<bool>("--exits") { Description = "Compare exits of guests with change_pte and without" };
        var range = new Option<bool>("--invalidate-range")
        {
            Description = "Tell guests of new pages as today's kernels do",
        };
        var noFaults = new Option<bool>("--no-faults")
        {
            Description = "Only what programs do, nothing else goes wrong",
        };
        var host = new Option<string>("--host")
        {
            Description = "Simulate a whole host as a file describes it, under KSM and under Samepage", HelpName = "FILE",
        };
        var svg = new Option<string>("--svg") { Description = "With --host: draw saving over time", HelpName = "FILE" };
        var sample = Number(
            "--sample", "PAGES", "With --host: pages to simulate, each for many", 1_000_000, 1000, 100_000_000);
        var verb = new Command("simulate", "Run the engine on a simulated machine, and check everything.")
        {
            seed, ticks, runs, mutant, noFaults, range, mutants, exits, exhaustive, host, svg, sample, json,
        };
        verb.Validators.Add(result =>
        {
            var modes = new[]
            {
                result.GetResult(mutants), result.GetResult(exits), result.GetResult(exhaustive), result.GetResult(host),
            };
            if (modes.Count(mode => mode is { Implicit: false }) > 1)
            {
                result.AddError("give one of --mutants, --exits, --exhaustive and --host");
            }

            if (result.GetValue(svg) is not null && result.GetValue(host) is null)
            {
                result.AddError("--svg draws what --host simulates: give both");
            }
        });
        verb.SetAction(parsed => CommandLine.Guard(terminal, () =>
        {
            if (parsed.GetValue(host) is { } file)
            {
                return (int)HostSimulationRun.Run(
                    terminal, file, parsed.GetValue(svg), parsed.GetValue(json),
                    new HostOptions { Seed = parsed.GetValue(seed), Sample = (long)parsed.GetValue(sample) });
            }

            var output = new SimulateOutput(terminal, parsed.GetValue(json));
            var options = new RunOptions
            {
                Seed = parsed.GetValue(seed),
                Ticks = (long)parsed.GetValue(ticks),
                Mutant = parsed.GetValue(mutant),
                Rule = parsed.GetValue(range) ? NotificationRule.InvalidateRange : NotificationRule.ChangePte,
                HasFaults = !parsed.GetValue(noFaults),
            };
            return (int)(parsed.GetValue(mutants) ? Hunt(output, terminal, options.Seed)
                : parsed.GetValue(exits) ? output.Print(ExitTable.Measure())
                : parsed.GetResult(exhaustive) is { Implicit: false }
                    ? Search(output, terminal, (int)parsed.GetValue(exhaustive), options.Mutant)
                : Run(output, terminal, options, parsed.GetValue(runs)));
        }));
        return verb;
    }

    private static ExitCode Run(SimulateOutput output, Terminal terminal, RunOptions options, ulong runs)
    {
        var progress = new Progress(terminal);
        var results = new List<RunResult>();
        for (ulong run = 0; run < runs; run++)
        {
            RunOptions one = options with { Seed = options.Seed + run };
            results.Add(new SeededRun(one).Go(new Teller(tick => progress.Show(string.Create(
                CultureInfo.InvariantCulture, $"seed {one.Seed}: tick {tick:N0} of {one.Ticks:N0}")))));
            if (results[^1].Failure is not null)
            {
                break;
            }

            progress.Show(string.Create(CultureInfo.InvariantCulture, $"{run + 1:N0} of {runs:N0} histories"));
        }

        progress.Clear();
        return output.Print(results);
    }

    private static ExitCode Hunt(SimulateOutput output, Terminal terminal, ulong seed)
    {
        const int runsMax = 300;
        var progress = new Progress(terminal);
        var caught = new List<MutantCatch>();
        foreach (Mutant mutant in MutantHunt.All)
        {
            progress.Show($"hunting {mutant}");
            caught.Add(MutantHunt.Hunt(mutant, seed, runsMax, CancellationToken.None));
        }

        progress.Clear();
        return output.Print(caught);
    }

    private static ExitCode Search(SimulateOutput output, Terminal terminal, int actions, Mutant mutant)
    {
        var progress = new Progress(terminal);
        ExhaustiveResult result = new ExhaustiveSearch(new ExhaustiveOptions { Actions = actions, Mutant = mutant })
            .Go(new Teller(histories => progress.Show(string.Create(
                CultureInfo.InvariantCulture, $"{histories:N0} histories"))));
        progress.Clear();
        return output.Print(result, actions, mutant);
    }

    private static Option<ulong> Number(
        string name, string helpName, string description, ulong value, ulong least, ulong most) => new(name)
        {
            Description = description,
            HelpName = helpName,
            DefaultValueFactory = _ => value,
            CustomParser = result =>
            {
                string token = result.Tokens.Count == 0 ? "" : result.Tokens[0].Value;
                if (ulong.TryParse(token, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number)
                    && number >= least && number <= most)
                {
                    return number;
                }

                result.AddError($"{name} cannot be \"{token}\": give {least} to {most}");
                return value;
            },
        };

    private static Option<Mutant> Mutants() => new("--mutant")
    {
        Description = "Break the machine on purpose, in one place",
        HelpName = "NAME",
        CustomParser = result =>
        {
            string token = result.Tokens.Count == 0 ? "" : result.Tokens[0].Value;
            if (!int.TryParse(token, out _) && Enum.TryParse(token, ignoreCase: true, out Mutant mutant))
            {
                return mutant;
            }

            result.AddError($"there is no mutant \"{token}\": the mutants are {string.Join(", ", MutantHunt.All)}");
            return Mutant.None;
        },
    };

    private sealed class Teller(Action<long> tell) : IProgress<long>
    {
        public void Report(long value) => tell(value);
    }
}
