using System.CommandLine;
using Samepage.Cli.Demo;

namespace Samepage.Cli.Verbs;

/// <summary>One process of the demonstration; obeys lines on standard input and answers each with one.</summary>
internal static class DemoWorkerVerb
{
    internal const string Name = "demo-worker";

    internal static Command Create()
    {
        var index = new Option<int>("--index");
        var seed = new Option<ulong>("--seed");
        var mebibytes = new Option<int>("--mebibytes");
        var verb = new Command(Name, "One process of the demonstration.") { index, seed, mebibytes };
        verb.Hidden = true;
        verb.SetAction(parsed =>
        {
            var pages = parsed.GetValue(mebibytes) * (1L << 20) / PageSize.Bytes;
            using var memory = new DemoMemory(pages, parsed.GetValue(seed), parsed.GetValue(index));
            Obey(memory, Console.In, Console.Out);
            return 0;
        });
        return verb;
    }

    /// <summary>Runs until the input ends.</summary>
    internal static void Obey(DemoMemory memory, TextReader commands, TextWriter answers)
    {
        answers.WriteLine("ok");
        answers.Flush();
        while (commands.ReadLine() is { } command)
        {
            answers.WriteLine(command switch
            {
                "verify" => memory.FirstWrong() is >= 0 and var page ? $"page {page} is wrong" : "ok",
                "write" => memory.Write() > 0 ? "ok" : "nothing to write",
                _ => "unknown command",
            });
            answers.Flush();
        }
    }
}
