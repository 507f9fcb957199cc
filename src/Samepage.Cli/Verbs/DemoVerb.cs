using System.CommandLine;
using System.Text.Json;
using Samepage.Cli.Demo;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Verbs;

internal static class DemoVerb
{
    private const int ProcessesMax = 64;
    private const int MebibytesMax = 64 * 1024;

    internal static Command Create(Terminal terminal)
    {
        var socket = Verb.Socket();
        var json = Verb.Json();
        var processes = Number("--processes", "Number of processes", 4, 2, ProcessesMax);
        var mebibytes = Number("--mebibytes", "Memory each process fills, in MiB", 128, 1, MebibytesMax);
        var verb = new Command("demo", "Merge unrelated processes, check every byte, and show what it saves.")
        {
            processes, mebibytes, socket, json,
        };
        verb.SetAction(parsed => CommandLine.Guard(terminal, () =>
        {
            using var demonstration = new Demonstration(
                terminal,
                parsed.GetRequiredValue(socket),
                parsed.GetValue(processes),
                parsed.GetValue(mebibytes));
            var result = demonstration.Run();
            if (parsed.GetValue(json))
            {
                terminal.Out.WriteLine(JsonSerializer.Serialize(result, DemoJson.Default.DemoDocument));
            }
            else
            {
                Print(terminal, result);
            }

            return (int)(result.Verified ? ExitCode.Done : ExitCode.Failed);
        }));
        return verb;
    }

    private static Option<int> Number(string name, string description, int byDefault, int min, int max)
    {
        var option = new Option<int>(name)
        {
            Description = $"{description}, {min} to {max}",
            HelpName = "N",
            DefaultValueFactory = _ => byDefault,
        };
        option.CustomParser = result =>
        {
            if (int.TryParse(result.Tokens[0].Value, out var value) && value >= min && value <= max)
            {
                return value;
            }

            result.AddError($"{name} cannot be \"{result.Tokens[0].Value}\": give {min} to {max}");
            return byDefault;
        };
        return option;
    }

    private static void Print(Terminal terminal, DemoDocument demo)
    {
        Table.Print(
            terminal,
            [$"{demo.Processes} processes, {demo.Mebibytes} MiB each", "Memory (kernel's PSS)"],
            [
                ["before", Amounts.Bytes(demo.PssBeforeBytes)],
                ["merged", Amounts.Bytes(demo.PssAfterBytes)],
                ["written and merged again", Amounts.Bytes(demo.PssAfterWritesBytes)],
            ]);
        terminal.Out.WriteLine($"{Amounts.Bytes(demo.PssBeforeBytes - demo.PssAfterBytes)} given back in "
            + $"{Amounts.Seconds(demo.ElapsedSeconds)} ({Amounts.Seconds(demo.CpuSeconds)} CPU): "
            + $"{Amounts.Count(demo.PagesSharing)} pages share {Amounts.Count(demo.PagesShared)}, "
            + $"{Amounts.Count(demo.ZeroPages)} zero pages");
        terminal.Out.WriteLine(demo.Verified
            ? "Every process has found every byte right: merged, written, merged again and detached."
            : "A process has found a wrong byte.");
    }
}
