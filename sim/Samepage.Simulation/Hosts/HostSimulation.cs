namespace Samepage.Simulation.Hosts;

/// <summary>How a host is simulated.</summary>
public sealed record HostOptions
{
    /// <summary>Pages to sample; all of them when the host has no more.</summary>
    public long Sample { get; init; } = 1_000_000;

    /// <summary>Seed of every draw.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Our ceiling (advisor_max_cpu), percent of one CPU.</summary>
    public int MaxCpu { get; init; } = 70;
}

/// <summary>What one way of merging did.</summary>
/// <param name="Name">Its name.</param>
/// <param name="SavedBytes">Saved at the end.</param>
/// <param name="ErrorBytes">Two standard errors of that, from sampling; 0 when all pages were simulated.</param>
/// <param name="ShareOfPossible">Saved, of what equal pages there are at the end.</param>
/// <param name="ConvergedSeconds">When it first had 90 % of what is possible at the end; null: never.</param>
/// <param name="CpuSeconds">CPU it used.</param>
/// <param name="CpuPercent">The same in percent of one CPU, over the whole time.</param>
/// <param name="FullScans">Passes over all pages.</param>
/// <param name="Points">Saved bytes over time.</param>
public sealed record MergerResult(
    string Name, double SavedBytes, double ErrorBytes, double ShareOfPossible, double? ConvergedSeconds,
    double CpuSeconds, double CpuPercent, long FullScans, IReadOnlyList<SavingPoint> Points);

/// <summary>Saving at a time.</summary>
/// <param name="Seconds">Simulated time.</param>
/// <param name="SavedBytes">Saved.</param>
public readonly record struct SavingPoint(double Seconds, double SavedBytes);

/// <summary>A simulated host.</summary>
/// <param name="HostBytes">Memory of all guests.</param>
/// <param name="Seconds">Simulated time.</param>
/// <param name="SampledPages">Pages simulated.</param>
/// <param name="PossibleBytes">What equal pages there are at the end, each content kept once; zero pages not at all.</param>
/// <param name="Mergers">The ways of merging.</param>
public sealed record HostResult(
    double HostBytes, double Seconds, int SampledPages, double PossibleBytes, IReadOnlyList<MergerResult> Mergers);

/// <summary>Runs every way of merging over the same history of a host.</summary>
public static class HostSimulation
{
    private const int Steps = 1500;
    private const int PlotPoints = 150;
    private const double ConvergedShare = 0.9;

    /// <summary>Simulates.</summary>
    /// <param name="host">The host.</param>
    /// <param name="options">How.</param>
    /// <param name="cost">What steps cost.</param>
    /// <param name="progress">Told what is being simulated, and how much of it is done (0 to 1).</param>
    /// <param name="cancel">Ends it.</param>
    public static HostResult Run(
        HostDescription host, HostOptions options, CostModel cost, IProgress<(string What, double Done)>? progress,
        CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(host);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(cost);
        double step = host.Duration.TotalSeconds / Steps;
        double possible = Possible(new ScaledHost(host, options.Sample, options.Seed), host.Duration.TotalSeconds);
        Func<ScaledHost, Merger>[] ways =
        [
            scaled => new KsmDefaults(scaled, cost, step),
            scaled => new KsmTuned(scaled, cost, step, host.MemoryBytes > 0 ? host.MemoryBytes : host.Pages * PageSize.Bytes),
            scaled => new KsmAdvisor(scaled, cost, step),
            scaled => new SamepageMerger(scaled, cost, step, options.MaxCpu),
        ];
        var results = new List<MergerResult>();
        int pages = 0;
        foreach (Func<ScaledHost, Merger> way in ways)
        {
            var scaled = new ScaledHost(host, options.Sample, options.Seed);
            pages = scaled.Count;
            results.Add(RunOne(way(scaled), host.Duration.TotalSeconds, step, possible, progress, cancel));
        }

        return new HostResult((double)host.Pages * PageSize.Bytes, host.Duration.TotalSeconds, pages, possible, results);
    }

    private static MergerResult RunOne(
        Merger merger, double seconds, double step, double possible, IProgress<(string What, double Done)>? progress,
        CancellationToken cancel)
    {
        var points = new List<SavingPoint> { new(0, 0) };
        double? converged = null;
        for (int i = 1; i <= Steps; i++)
        {
            cancel.ThrowIfCancellationRequested();
            double now = i * step;
            merger.Step(now);
            double saved = merger.SavedPages * PageSize.Bytes;
            converged ??= possible > 0 && saved >= possible * ConvergedShare ? now : null;
            if (i % (Steps / PlotPoints) == 0)
            {
                points.Add(new SavingPoint(now, saved));
                progress?.Report((merger.Name, (double)i / Steps));
            }
        }

        double end = merger.SavedPages * PageSize.Bytes;
        return new MergerResult(
            merger.Name, end, merger.SavedPagesError * PageSize.Bytes, possible > 0 ? end / possible : 0, converged,
            merger.Cpu, merger.Cpu / seconds * 100, merger.FullScans, points);
    }

    /// <summary>Bytes that would be saved if every equal page were merged at this moment.</summary>
    private static double Possible(ScaledHost host, double now)
    {
        foreach (var _ in host.Restarted(now))
        {
            // Only their content matters here.
        }

        var contents = new Dictionary<ulong, (int Pages, double Weight, bool IsZero)>();
        for (int page = 0; page < host.Count; page++)
        {
            if (host.IsThere(page, now))
            {
                _ = host.Look(page, now);
                (int pages, double weight, _) = contents.GetValueOrDefault(host.Content[page]);
                contents[host.Content[page]] = (pages + 1, weight + host.Weight(page), host.IsZero(page));
            }
        }

        return contents.Values.Sum(one =>
            one.Weight * (one.Pages - (one.IsZero ? 0 : Math.Ceiling(one.Pages / 256.0))) / one.Pages) * PageSize.Bytes;
    }
}
