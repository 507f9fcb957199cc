namespace Samepage.Simulation.Hosts;

/// <summary>
/// A host in small: of every class of every guest a sample of pages, each standing for as many as its weight says. Of
/// an image the same places are taken in every guest and a pool is made smaller by the same factor, so whoever was
/// equal stays equal. Content changes by itself; all draws come from a hash of seed, page and count, so every merger
/// meets the same history.
/// </summary>
internal sealed class ScaledHost
{
    /// <summary>Independent parts of the sample, for the sampling error.</summary>
    public const int Groups = 16;

    private readonly ulong _seed;
    private readonly Class[] _classes;
    private readonly ushort[] _class;
    private readonly int[] _guest;
    private readonly int[] _index;
    private readonly double[] _next;
    private readonly GuestState[] _guests;
    private readonly PriorityQueue<int, double> _restarts = new();

    public ScaledHost(HostDescription host, long sampleMax, ulong seed)
    {
        _seed = seed;
        double share = Math.Min(1, (double)sampleMax / Math.Max(host.Pages, 1));
        IsWhole = share >= 1;
        var classes = new List<Class>();
        var guests = new List<GuestState>();
        var plan = new List<(int Guest, int Class, int Index)>();
        foreach (GuestGroup group in host.Guests)
        {
            int firstClass = classes.Count;
            classes.AddRange(group.Classes.Select(one => Class.Of(one, share)));
            for (int i = 0; i < group.Count; i++)
            {
                double start = group.Start.TotalSeconds + (group.Over.TotalSeconds * i / group.Count);
                guests.Add(new GuestState { Start = start, Life = group.Life?.TotalSeconds ?? double.PositiveInfinity, First = plan.Count });
                for (int c = firstClass; c < classes.Count; c++)
                {
                    for (int index = 0; index < classes[c].Sampled; index++)
                    {
                        plan.Add((guests.Count - 1, c, index));
                    }
                }

                guests[^1].End = plan.Count;
            }
        }

        _classes = [.. classes];
        _guests = [.. guests];
        Count = plan.Count;
        _class = [.. plan.Select(page => (ushort)page.Class)];
        _guest = [.. plan.Select(page => page.Guest)];
        _index = [.. plan.Select(page => page.Index)];
        _next = new double[Count];
        Content = new ulong[Count];
        Version = new uint[Count];
        Begin();
    }

    /// <summary>Sampled pages.</summary>
    public int Count { get; }

    /// <summary>True when the sample is the whole host.</summary>
    public bool IsWhole { get; }

    /// <summary>What each page held when somebody last looked.</summary>
    public ulong[] Content { get; }

    /// <summary>Rises with every change of a page's content.</summary>
    public uint[] Version { get; }

    /// <summary>Pages of the host that a sampled page stands for.</summary>
    public double Weight(int page) => _classes[_class[page]].Weight;

    public bool IsZero(int page) => Content[page] < Groups;

    public bool IsThere(int page, double now) => _guests[_guest[page]].Start <= now;

    /// <summary>When the page will get new content.</summary>
    public double NextChange(int page) => _next[page];

    /// <summary>The part of the sample a content belongs to.</summary>
    public static int GroupOf(ulong content) => (int)(content % Groups);

    /// <summary>Pages that are there.</summary>
    public double Present(double now)
    {
        double pages = 0;
        foreach (GuestState guest in _guests)
        {
            for (int page = guest.First; page < guest.End && guest.Start <= now; page++)
            {
                pages += Weight(page);
            }
        }

        return pages;
    }

    /// <summary>Brings a page's content up to date.</summary>
    /// <returns>True when it has changed.</returns>
    public bool Look(int page, double now)
    {
        if (_next[page] > now)
        {
            return false;
        }

        // Changes have no memory: however many there were, the next one is as far from now as from any.
        Version[page]++;
        Draw(page, now);
        return true;
    }

    /// <summary>Guests that ended before now and were replaced; each page of theirs has changed.</summary>
    public IEnumerable<(int First, int End)> Restarted(double now)
    {
        while (_restarts.TryPeek(out int index, out double at) && at <= now)
        {
            GuestState guest = _guests[index];
            _ = _restarts.Dequeue();
            guest.Epoch++;
            _restarts.Enqueue(index, at + Exponential(guest.Life, Hash(_seed, 7, (ulong)index, guest.Epoch)));
            for (int page = guest.First; page < guest.End; page++)
            {
                Version[page] = (Version[page] | 1) + 1; // even: the common content, where there is one
                Draw(page, at);
            }

            yield return (guest.First, guest.End);
        }
    }

    public static ulong Hash(ulong a, ulong b, ulong c, ulong d = 0)
    {
        ulong x = (a * 0x9E3779B97F4A7C15) ^ (b * 0xC2B2AE3D27D4EB4F) ^ (c * 0x165667B19E3779F9) ^ (d * 0x27D4EB2F165667C5);
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }

    private void Begin()
    {
        for (int i = 0; i < _guests.Length; i++)
        {
            GuestState guest = _guests[i];
            for (int page = guest.First; page < guest.End; page++)
            {
                Draw(page, guest.Start);
            }

            if (double.IsFinite(guest.Life))
            {
                _restarts.Enqueue(i, guest.Start + Exponential(guest.Life, Hash(_seed, 7, (ulong)i)));
            }
        }
    }

    private void Draw(int page, double now)
    {
        Class one = _classes[_class[page]];
        uint version = Version[page];
        ulong own = Hash(_seed, 1, (ulong)page, version);
        Content[page] = Common(one, page, own, version) is { } common ? common : own | (1ul << 63);
        _next[page] = now + Exponential(one.Life, Hash(_seed, 2, (ulong)page, version));
    }

    /// <summary>What others hold, too; null when the page has content of its own.</summary>
    private ulong? Common(Class one, int page, ulong own, uint version) => one.Kind switch
    {
        PageContentKind.Zero when version % 2 == 0 => (ulong)(page % Groups),
        PageContentKind.Image when version % 2 == 0 => (Hash(3, one.CommonHash, (ulong)_index[page]) >> 1) | 0x100,
        PageContentKind.Pool => (Hash(4, one.CommonHash, own % (ulong)one.PoolSampled) >> 1) | 0x100,
        _ => null,
    };

    private static double Exponential(double mean, ulong random) =>
        double.IsFinite(mean) ? -Math.Log(((random >> 11) + 1) / (double)(1ul << 53)) * mean : double.PositiveInfinity;

    private sealed class GuestState
    {
        public double Start { get; init; }

        public double Life { get; init; }

        public int First { get; init; }

        public int End { get; set; }

        public ulong Epoch { get; set; }
    }

    private sealed record Class(
        PageContentKind Kind, double Life, double Weight, int Sampled, ulong CommonHash, long PoolSampled)
    {
        public static Class Of(PageClass one, double share)
        {
            int sampled = (int)Math.Max(1, Math.Round(one.Pages * share));
            ulong common = 0;
            foreach (char letter in one.Common ?? "")
            {
                common = Hash(5, common, letter);
            }

            return new Class(
                one.Kind, one.Life?.TotalSeconds ?? double.PositiveInfinity, (double)one.Pages / sampled, sampled, common,
                (long)Math.Max(1, Math.Round(one.PoolPages * ((double)sampled / one.Pages))));
        }
    }
}
