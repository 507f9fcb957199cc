using System.CommandLine;
using Samepage.Cli;
using Samepage.Cli.Verbs;
using Xunit;

namespace Samepage.Tests;

public sealed class UsageTests
{
    private static readonly Terminal Nowhere = new(TextWriter.Null, TextWriter.Null, false, false);

    public static TheoryData<string> Verbs { get; } =
        new(CommandLine.Build(Nowhere).Subcommands.Select(verb => verb.Name));

    [Fact]
    public void EveryVerbOfTheDesignIsThere()
    {
        string[] designed =
        [
            "demo", "daemon", "doctor", "status", "list", "top", "run", "attach", "detach", "merge", "unmerge", "get",
            "set", "simulate", "mount", "unmount",
        ];
        IEnumerable<string> shown = CommandLine.Build(Nowhere).Subcommands
            .Where(verb => !verb.Hidden).Select(verb => verb.Name);
        Assert.Equal(designed.Order(), shown.Order());
    }

    [Theory]
    [MemberData(nameof(Verbs))]
    public void AVerbThatIsAskedForIsMadeAlone(string verb) =>
        Assert.Equal([verb], CommandLine.Build(Nowhere, verb).Subcommands.Select(one => one.Name));

    [Theory]
    [MemberData(nameof(Verbs))]
    public void HelpOfEveryVerbHasAnExampleThatStartsWithIt(string verb)
    {
        CliResult help = CliResult.Of(verb, "--help").Good();
        Assert.Contains($"Examples:\n  samepage {verb}", help.Out, StringComparison.Ordinal);
        Assert.Contains("Exit codes:", help.Out, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Verbs))]
    public void ExamplesOfEveryVerbCanBeParsed(string verb)
    {
        foreach (string example in Examples.Of(CommandLine.Build(Nowhere).Subcommands.First(one => one.Name == verb)))
        {
            string[] words = example.Split("    ")[0]
                .Replace("$(pidof qemu-system-x86_64)", "1", StringComparison.Ordinal)
                .Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words[0] == "samepage")
            {
                ParseResult parsed = CommandLine.Build(Nowhere).Parse(RunVerb.SeparateCommand(words[1..]));
                Assert.Empty(parsed.Errors);
                Assert.Equal(verb, parsed.CommandResult.Command.Name);
            }
        }
    }

    [Fact]
    public void HelpOfTheProgramListsTheVerbsAndHasExamples()
    {
        string help = CliResult.Of("--help").Good().Out;
        Assert.Contains("attach", help, StringComparison.Ordinal);
        Assert.Contains("samepage demo", help, StringComparison.Ordinal);
        Assert.DoesNotContain("demo-worker", help, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("give a verb")]
    [InlineData("nix", "nix")]
    [InlineData("--nix", "status", "--nix")]
    [InlineData("\"abc\" is not a process id", "attach", "abc")]
    [InlineData("\"-5\" is not a process id", "attach", "--", "-5")]
    [InlineData("\"0\" is not a process id", "merge", "0")]
    [InlineData("Required argument missing", "attach")]
    [InlineData("its end must be above its start", "attach", "1", "--range", "2000-1000")]
    [InlineData("its end must be above its start", "attach", "1", "--range", "2000-2000")]
    [InlineData("must be multiples of 4096", "attach", "1", "--range", "1000-1800")]
    [InlineData("write it as START-END", "attach", "1", "--range", "1000")]
    [InlineData("write it as START-END", "attach", "1", "--range", "g-1000")]
    [InlineData("user addresses end at", "attach", "1", "--range", "1000-ffffffffff600000")]
    [InlineData("a domain is", "attach", "1", "--domain", "a b")]
    [InlineData("give process ids, or --all", "detach")]
    [InlineData("give process ids, or --all", "detach", "--all", "7")]
    [InlineData("write KNOB=VALUE", "set", "run")]
    [InlineData("write KNOB=VALUE", "set", "=1")]
    [InlineData("Required argument missing", "set")]
    [InlineData("Required argument missing", "run", "--dev-ksm")]
    [InlineData("a domain is", "run", "--domain", "a b", "--", "true")]
    [InlineData("'v5' not recognized", "run", "--admin-view", "v5", "--", "true")]
    [InlineData("Required argument missing", "run", "--all")]
    [InlineData("--processes cannot be \"1\": give 2 to 64", "demo", "--processes", "1")]
    [InlineData("--processes cannot be \"x\": give 2 to 64", "demo", "--processes", "x")]
    [InlineData("--mebibytes cannot be \"0\"", "demo", "--mebibytes", "0")]
    [InlineData("--interval must be", "top", "--interval", "0")]
    [InlineData("--seed cannot be \"x\": give 0 to 18446744073709551615", "simulate", "--seed", "x")]
    [InlineData("--ticks cannot be \"0\": give 1 to 1000000000", "simulate", "--ticks", "0")]
    [InlineData("--runs cannot be \"-1\": give 1 to 1000000", "simulate", "--runs", "-1")]
    [InlineData("--exhaustive cannot be \"4\": give 1 to 3", "simulate", "--exhaustive", "4")]
    [InlineData("there is no mutant \"Nix\"", "simulate", "--mutant", "Nix")]
    [InlineData("give one of --mutants, --exits, --exhaustive and --host", "simulate", "--mutants", "--exits")]
    public void NonsenseIsOneLineAndExitCodeTwo(string saying, params string[] args) =>
        CliResult.Of(args).Bad(2, saying);

    [Theory]
    [InlineData("run --all -- ls -l", "run --all -- ls -l")]
    [InlineData("run --all ls -l --json", "run --all -- ls -l --json")]
    [InlineData("run --domain d --all ls -- x", "run --domain d --all -- ls -- x")]
    [InlineData("run --all", "run --all")]
    [InlineData("status run x", "status run x")]
    public void OptionsAfterTheCommandAreTheCommands(string given, string expected) =>
        Assert.Equal(expected, string.Join(' ', RunVerb.SeparateCommand(given.Split(' '))));
}
