using System.Diagnostics;

namespace Samepage.Benchmarks;

/// <summary>A benchmark that can be named on the command line.</summary>
/// <param name="Name">First argument.</param>
/// <param name="Summary">What it measures, in one line.</param>
/// <param name="Run">Runs it with the other arguments; gives the exit code.</param>
internal sealed record Benchmark(string Name, string Summary, Func<string[], int> Run)
{
    /// <summary>Argument that asks for a size which is done in a second or so.</summary>
    public const string Smoke = "--smoke";

    /// <summary>The line above the results: what they were measured on.</summary>
    public static void PrintHost()
    {
        const string model = "model name";
        var processor = File.Exists("/proc/cpuinfo")
            ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith(model, StringComparison.Ordinal))
            : null;
        Console.WriteLine($"{processor?[(model.Length + 3)..] ?? "unknown processor"}, " +
            $"{Environment.ProcessorCount} CPUs, .NET {Environment.Version}, {Environment.OSVersion.Version}");
    }

    /// <summary>Seconds of the fastest of several rounds: what disturbs a round can only make it slower.</summary>
    public static double BestOf(int rounds, Action round)
    {
        var best = double.MaxValue;
        for (var i = 0; i < rounds; i++)
        {
            var start = Stopwatch.GetTimestamp();
            round();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    /// <summary>True when the only argument is <see cref="Smoke"/>; exit code 2 by an exception-free way otherwise.</summary>
    public static bool TryParse(string[] arguments, out bool smoke)
    {
        smoke = arguments is [Smoke];
        if (smoke || arguments.Length == 0)
        {
            return true;
        }

        Console.Error.WriteLine($"unknown argument '{arguments[0]}'; the only one is {Smoke}");
        return false;
    }
}
