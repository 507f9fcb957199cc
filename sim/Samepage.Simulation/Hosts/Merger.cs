namespace Samepage.Simulation.Hosts;

/// <summary>
/// A way of merging: how fast it looks at pages, what it does with them, and what that costs. Keeps account of what is
/// merged.
/// </summary>
internal abstract class Merger(ScaledHost host, CostModel cost, double step)
{
    private readonly Dictionary<ulong, Shared> _stable = [];
    private readonly Dictionary<long, List<int>> _changes = [];
    private readonly double[] _savedPages = new double[ScaledHost.Groups];

    protected ScaledHost Host { get; } = host;

    protected CostModel Cost { get; } = cost;

    protected double StepSeconds { get; } = step;

    protected bool[] IsMerged { get; } = new bool[host.Count];

    /// <summary>Name in tables.</summary>
    public abstract string Name { get; }

    /// <summary>CPU seconds so far.</summary>
    public double Cpu { get; protected set; }

    /// <summary>Passes over all pages so far.</summary>
    public long FullScans { get; protected set; }

    /// <summary>Zero pages need no copy at all.</summary>
    protected virtual bool TakesZerosAway => false;

    /// <summary>Pages saved.</summary>
    public double SavedPages => _savedPages.Sum();

    /// <summary>Two standard errors of <see cref="SavedPages"/>, from the independent parts of the sample.</summary>
    public double SavedPagesError
    {
        get
        {
            double mean = SavedPages / ScaledHost.Groups;
            double squares = _savedPages.Sum(part => (part - mean) * (part - mean));
            return Host.IsWhole ? 0 : 2 * Math.Sqrt(squares * ScaledHost.Groups / (ScaledHost.Groups - 1));
        }
    }

    /// <summary>One step of simulated time, which ends now.</summary>
    public void Step(double now)
    {
        foreach ((int first, int end) in Host.Restarted(now))
        {
            for (int page = first; page < end; page++)
            {
                Break(page);
                Forget(page);
            }
        }

        if (_changes.Remove(Bucket(now) - 1, out List<int>? due))
        {
            foreach (int page in due)
            {
                // It may have been broken and merged again meanwhile: then it is due later.
                if (IsMerged[page] && Host.NextChange(page) <= now)
                {
                    Break(page);
                    _ = Host.Look(page, now);
                }
            }
        }

        Scan(now);
    }

    /// <summary>What can be done in this step.</summary>
    protected abstract void Scan(double now);

    /// <summary>The page's guest was replaced: nothing is known of it any more.</summary>
    protected abstract void Forget(int page);

    protected bool IsStable(ulong content) => _stable.ContainsKey(content);

    protected void Merge(int page)
    {
        ulong content = Host.Content[page];
        Shared shared = _stable.GetValueOrDefault(content);
        Count(content, shared, -1);
        shared = new Shared(shared.Pages + 1, shared.Weight + Host.Weight(page), shared.IsZero || Host.IsZero(page));
        _stable[content] = shared;
        Count(content, shared, 1);
        IsMerged[page] = true;
        double change = Host.NextChange(page);
        if (double.IsFinite(change))
        {
            long bucket = Bucket(change);
            if (!_changes.TryGetValue(bucket, out List<int>? list))
            {
                _changes.Add(bucket, list = []);
            }

            list.Add(page);
        }

        _mergedContent[page] = content;
    }

    private readonly ulong[] _mergedContent = new ulong[host.Count];

    private void Break(int page)
    {
        if (!IsMerged[page])
        {
            return;
        }

        IsMerged[page] = false;
        ulong content = _mergedContent[page];
        Shared shared = _stable[content];
        Count(content, shared, -1);
        if (shared.Pages == 1)
        {
            _ = _stable.Remove(content);
            return;
        }

        shared = shared with { Pages = shared.Pages - 1, Weight = shared.Weight - Host.Weight(page) };
        _stable[content] = shared;
        Count(content, shared, 1);
    }

    // A change in the middle of a step is noticed at the end of it.
    private long Bucket(double time) => (long)Math.Floor(time / StepSeconds);

    private void Count(ulong content, Shared shared, int sign)
    {
        const double sharingMax = 256; // max_page_sharing, of both
        if (shared.Pages > 0)
        {
            double copies = TakesZerosAway && shared.IsZero ? 0 : Math.Ceiling(shared.Pages / sharingMax);
            _savedPages[ScaledHost.GroupOf(content)] += sign * shared.Weight * (shared.Pages - copies) / shared.Pages;
        }
    }

    private readonly record struct Shared(int Pages, double Weight, bool IsZero);
}
