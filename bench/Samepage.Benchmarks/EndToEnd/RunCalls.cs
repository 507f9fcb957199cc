using System.Diagnostics;
using System.Globalization;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>What a system call costs under <c>samepage run</c>: one that the daemon answers, and one that is none of
/// its business.</summary>
internal static class RunCalls
{
    private const int Rounds = 5;

    /// <summary>Measures and prints; 0 when it could.</summary>
    public static int Run(string[] args)
    {
        var calls = args.Contains("--smoke") ? "2000" : "100000";
        var folder = Directory.CreateTempSubdirectory("samepage-bench-").FullName;
        try
        {
            var program = Path.Combine(folder, "calls");
            var source = Path.Combine(
                Repository.Root, "bench", "Samepage.Benchmarks", "EndToEnd", "calls.c");
            Capture("gcc", "-O2", "-o", program, source);
            using var daemon = Daemon.Start(folder);
            (string Name, string[] Command)[] ways =
            [
                ("no filter", [program, calls]),
                ("samepage run", [Daemon.Program, "run", "--socket", daemon.Socket, "--", program, calls]),
                ("with --dev-ksm",
                    [Daemon.Program, "run", "--socket", daemon.Socket, "--dev-ksm", "--", program, calls]),
            ];
            Console.WriteLine($"{"",-16}{"getpid ns",12}{"madvise p50 us",16}{"p99 us",10}{"max us",10}");
            for (var round = 0; round < Rounds; round++)
            {
                foreach (var (name, command) in ways)
                {
                    var numbers = Capture(command[0], command[1..]).Split(' ')
                        .Select(word => double.Parse(word, CultureInfo.InvariantCulture)).ToArray();
                    Console.WriteLine(string.Create(
                        CultureInfo.InvariantCulture,
                        $"{name,-16}{numbers[0],12:0.0}{numbers[1] / 1e3,16:0.00}")
                        + string.Create(
                            CultureInfo.InvariantCulture, $"{numbers[2] / 1e3,10:0.00}{numbers[3] / 1e3,10:0.0}"));
                }
            }

            return 0;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Capture(string program, params string[] arguments)
    {
        using var process = Process.Start(
            new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })
            ?? throw new IOException($"cannot start {program}");
        var text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? text.Trim()
            : throw new IOException($"{program} ended with {process.ExitCode}");
    }
}
