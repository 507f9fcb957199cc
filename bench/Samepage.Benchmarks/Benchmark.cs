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

    /// <summary>Seconds of the fastest of many rounds: what disturbs a round can only make it slower.</summary>
    /// <param name="budget">For how long to go on; there are three rounds at least.</param>
    /// <param name="round">What to time.</param>
    public static double Fastest(TimeSpan budget, Action round)
    {
        var best = double.MaxValue;
        var begin = Stopwatch.GetTimestamp();
        for (var i = 0; i < 3 || Stopwatch.GetElapsedTime(begin) < budget; i++)
        {
            var start = Stopwatch.GetTimestamp();
            round();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    /// <summary>Understands the arguments of a benchmark that knows only <see cref="Smoke"/>; says so if not.</summary>
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
