using System.Diagnostics;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>What a measurement works with.</summary>
/// <param name="Folder">Temporary files.</param>
/// <param name="Ksm">The kernel's merger; null where the kernel has none (then only ours is measured).</param>
/// <param name="Report">Where figures go.</param>
/// <param name="Smoke">Small sizes.</param>
internal sealed record Setting(string Folder, Ksm? Ksm, Report Report, bool Smoke)
{
    /// <summary>The ways ksmd can work: the kernel's default comes last, and not in a smoke run.</summary>
    public IEnumerable<(bool SmartScan, string Name)> KsmdWays => Ksm is null ? [] : Ksm.HasSmartScan && !Smoke
        ? [(false, "ksmd"), (true, "ksmd smart_scan")]
        : [(false, "ksmd")];
}

/// <summary>Samepage beside ksmd, on whole processes: parts (c) to (h) and what the daemon itself needs.</summary>
internal static class EndToEndBenchmarks
{
    private static readonly (string Name, Action<Setting> Run)[] Parts =
    [
        ("footprint", Footprint.Run),
        ("scan", ScanRate.Run),
        ("identical", MergeRace.Identical),
        ("lone", MergeRace.Lone),
        ("guests", MergeRace.Guests),
        ("idle", IdlePasses.Run),
        ("corunner", CoRunner.Run),
        ("adminfiles", AdminFileCosts.Run),
    ];

    /// <summary>Runs one part; nothing is written.</summary>
    public static int RunPart(string name, string[] arguments)
    {
        if (!Benchmark.TryParse(arguments, out var smoke))
        {
            return 2;
        }

        return Measure(smoke, setting => Array.Find(Parts, part => part.Name == name).Run(setting));
    }

    /// <summary>Runs all benchmarks, digest and index too, and writes bench/results.</summary>
    public static int RunAll(string[] arguments)
    {
        if (!Benchmark.TryParse(arguments, out var smoke))
        {
            return 2;
        }

        return Measure(smoke, setting =>
        {
            // Guests take longer to start than a smoke run may take; `guests --smoke` runs them.
            foreach (var (_, run) in Parts.Where(part => !smoke || part.Name != "guests"))
            {
                run(setting);
            }

            var inside = smoke ? "" : Inside();
            var results = smoke ? Path.Combine(Repository.Root, ".cache", "bench-results")
                : Path.Combine(Repository.Root, "bench", "results");
            var path = setting.Report.Write(smoke, inside, results);
            Console.WriteLine($"written: {Path.GetRelativePath(Repository.Root, path)}");
        });
    }

    private static string Inside()
    {
        var console = Console.Out;
        using var text = new StringWriter();
        Console.SetOut(text);
        try
        {
            DigestBenchmarks.Run([]);
            IndexBenchmarks.Run([]);
        }
        finally
        {
            Console.SetOut(console);
        }

        Console.Write(text);
        return text.ToString();
    }

    private static int Measure(bool smoke, Action<Setting> measure)
    {
        if (!Environment.IsPrivilegedProcess)
        {
            Console.Error.WriteLine("must run as root: merging other processes' memory needs it, and so does KSM");
            return 4;
        }

        var folder = Directory.CreateTempSubdirectory("samepage-bench-").FullName;
        CleanUp.Arm();
        CleanUp.Add(() => Directory.Delete(folder, recursive: true));
        var start = Stopwatch.GetTimestamp();
        try
        {
            Benchmark.PrintHost();
            Build();
            var ksm = Ksm.TryTake();
            if (ksm is not null && ProcessFigures.Mergeable() is { Count: > 0 } strangers)
            {
                Console.WriteLine("warning: ksmd will scan other processes, too, which makes it look slow: " +
                    string.Join(", ", strangers));
            }

            measure(new Setting(folder, ksm, new Report(), smoke));
            Console.WriteLine($"took {Stopwatch.GetElapsedTime(start).TotalSeconds:f0} s");
            return 0;
        }
        catch (Exception error) when (error is IOException or InvalidOperationException or TimeoutException)
        {
            Console.Error.WriteLine(error.Message);
            return 1;
        }
        finally
        {
            CleanUp.RunAll();
        }
    }

    // The script builds on first use: that must not be measured.
    private static void Build()
    {
        var start = new ProcessStartInfo(Daemon.Program, ["--version"]) { RedirectStandardOutput = true };
        using var build = Process.Start(start)
            ?? throw new IOException($"cannot start {Daemon.Program}");
        build.StandardOutput.ReadToEnd();
        build.WaitForExit();
    }
}
