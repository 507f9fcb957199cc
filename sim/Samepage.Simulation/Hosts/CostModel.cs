using System.Text.Json;

namespace Samepage.Simulation.Hosts;

/// <summary>
/// CPU seconds per page of each step, of the kernel's merger and of ours, all from one committed benchmark run
/// (bench/results). Nothing here is fitted to the runs it is checked against.
/// </summary>
public sealed record CostModel
{
    // What the benchmark's parts work on (bench/README.md): (c) 512 MiB; (e) and (g) two processes of 512 MiB;
    // (f) two processes of 240 MiB, 20,000 pages of each equal.
    private const double PairPages = 2 * 512 * 256;
    private const double LonersPages = 2 * 240 * 256;
    private const double Loners = 2 * 20_000;

    /// <summary>ksmd looks at a page for the first time, or it has changed: a checksum.</summary>
    public required double KsmChecksum { get; init; }

    /// <summary>ksmd looks for an unchanged page in both trees and finds nobody.</summary>
    public required double KsmSearch { get; init; }

    /// <summary>ksmd passes a page that is merged.</summary>
    public required double KsmMergedVisit { get; init; }

    /// <summary>ksmd merges a page, on top of its search.</summary>
    public required double KsmMerge { get; init; }

    /// <summary>Ours walks past a page nobody has written.</summary>
    public required double WalkPage { get; init; }

    /// <summary>Ours reads and digests a page that was written.</summary>
    public required double ReadPage { get; init; }

    /// <summary>Ours merges a page of a long run, in the daemon and in the target.</summary>
    public required double MergePage { get; init; }

    /// <summary>Ours merges a run of pages, on top of its pages: each is a mapping of its own.</summary>
    public required double MergeRun { get; init; }

    /// <summary>The run that is built in.</summary>
    public static CostModel BuiltIn { get; } = From(Open());

    /// <summary>The built-in run's figures.</summary>
    public static Stream Open() => typeof(CostModel).Assembly.GetManifestResourceStream("bench-results.json")
        ?? throw new InvalidOperationException("no benchmark results are built in");

    /// <summary>Takes the costs from the JSON of a benchmark run.</summary>
    /// <exception cref="InvalidDataException">A figure is missing.</exception>
    public static CostModel From(Stream results)
    {
        using JsonDocument document = JsonDocument.Parse(results);
        double Figure(string part, string what, string who, string unit) => BenchResults.Figure(document, part, what, who, unit);

        double checksum = 1 / Figure("c scan", "first pass", "ksmd", "pages/CPU s");
        double search = 1 / Figure("c scan", "passes two to four", "ksmd", "pages/CPU s");
        // (g): half of the pages are merged, the other half looks for partners in every pass.
        double idle = Figure("g idle", "CPU of a pass", "ksmd", "us") / 1e6 / PairPages;
        // (e): a checksum of every page; then one of each pair searches and stays, the other finds it.
        double together = Figure("e identical", "CPU", "ksmd", "CPU s") / PairPages;
        double read = 1 / Figure("c scan", "first pass, daemon warmed up", "samepage", "pages/CPU s");
        double merge = Math.Max((Figure("e identical", "CPU", "samepage", "CPU s") / PairPages) - read, 0);
        double loner = (Figure("f lone", "CPU", "samepage", "CPU s") - (LonersPages * read)) / Loners;
        return new CostModel
        {
            KsmChecksum = checksum,
            KsmSearch = search,
            KsmMergedVisit = Math.Max((2 * idle) - search, 0),
            KsmMerge = Math.Max(together - checksum - search, 0),
            WalkPage = Figure("g idle", "CPU of a pass", "samepage", "us") / 1e6 / PairPages,
            ReadPage = read,
            MergePage = merge,
            MergeRun = Math.Max(loner - merge, 0),
        };
    }
}

/// <summary>Figures of a benchmark run's JSON.</summary>
internal static class BenchResults
{
    public static double Figure(JsonDocument document, string part, string what, string who, string unit)
    {
        foreach (JsonElement figure in document.RootElement.GetProperty("figures").EnumerateArray())
        {
            if (figure.GetProperty("part").GetString() == part && figure.GetProperty("what").GetString() == what
                && figure.GetProperty("who").GetString() == who && figure.GetProperty("unit").GetString() == unit)
            {
                return figure.GetProperty("value").GetDouble();
            }
        }

        throw new InvalidDataException($"the benchmark results have no \"{what}\" of {who} in part {part}");
    }
}
