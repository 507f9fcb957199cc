namespace Samepage.Simulation.Hosts;

/// <summary>
/// The kernel's ksmd (mm/ksm.c of 6.8 and later): pages one after the other, stable tree, checksum of the last visit,
/// unstable tree of this pass, smart_scan.
/// </summary>
internal abstract class KsmMerger(ScaledHost host, CostModel cost, double step) : Merger(host, cost, step)
{
    private readonly Dictionary<ulong, int> _unstable = [];
    private readonly uint[] _seen = new uint[host.Count]; // version + 1 at the last visit
    private readonly byte[] _age = new byte[host.Count];
    private readonly byte[] _skips = new byte[host.Count];
    private int _cursor;
    private double _owed;
    private double _perPage = cost.KsmChecksum;

    /// <summary>KSM's knob.</summary>
    protected double PagesToScan { get; set; } = 100;

    /// <summary>KSM's knob, in seconds.</summary>
    protected double Sleep { get; set; } = 0.02;

    /// <summary>CPU seconds of the pass before.</summary>
    protected double PassCpu { get; private set; }

    /// <summary>Wall seconds of the pass before.</summary>
    protected double PassSeconds { get; private set; }

    private double _passBegan;
    private double _passBeganCpu;

    protected override void Scan(double now)
    {
        Tune(now);
        if (PagesToScan <= 0)
        {
            return;
        }

        double wake = Sleep + (PagesToScan * _perPage);
        _owed += PagesToScan / wake * StepSeconds;
        double before = Cpu, asked = _owed;
        int untouched = 0;
        while (_owed > 0 && untouched < Host.Count)
        {
            double weight = Visit(_cursor, now);
            untouched = weight == 0 ? untouched + 1 : 0;
            _owed -= weight;
            if (++_cursor == Host.Count)
            {
                EndPass(now);
            }
        }

        double scanned = asked - _owed;
        if (scanned > 0)
        {
            _perPage = (Cpu - before) / scanned;
        }
    }

    /// <summary>Called in every step, to set the knobs.</summary>
    protected virtual void Tune(double now)
    {
    }

    /// <summary>Called after each pass.</summary>
    protected virtual void AfterPass()
    {
    }

    protected override void Forget(int page)
    {
        _seen[page] = 0;
        _age[page] = 0;
        _skips[page] = 0;
    }

    private void EndPass(double now)
    {
        _cursor = 0;
        _unstable.Clear();
        FullScans++;
        PassSeconds = Math.Max(now - _passBegan, StepSeconds);
        PassCpu = Cpu - _passBeganCpu;
        (_passBegan, _passBeganCpu) = (now, Cpu);
        AfterPass();
    }

    /// <returns>Pages of pages_to_scan this takes; 0 for one that is left out.</returns>
    private double Visit(int page, double now)
    {
        if (!Host.IsThere(page, now))
        {
            return 0;
        }

        double weight = Host.Weight(page);
        if (IsMerged[page])
        {
            Cpu += Cost.KsmMergedVisit * weight;
            return weight;
        }

        if (IsSkipped(page))
        {
            return 0;
        }

        _ = Host.Look(page, now);
        ulong content = Host.Content[page];
        uint version = Host.Version[page] + 1;
        if (IsStable(content))
        {
            Cpu += (Cost.KsmChecksum + Cost.KsmMerge) * weight;
            Merge(page);
        }
        else if (_seen[page] != version)
        {
            _seen[page] = version;
            Cpu += Cost.KsmChecksum * weight;
        }
        else
        {
            Cpu += Cost.KsmSearch * weight;
            if (_unstable.Remove(content, out int partner) && Host.Version[partner] == _seen[partner] - 1 && !IsMerged[partner])
            {
                Merge(partner);
                Merge(page);
                Cpu += Cost.KsmMerge * 2 * weight;
            }
            else
            {
                _unstable[content] = page;
            }
        }

        return weight;
    }

    // should_skip_rmap_item and skip_age: the older without success, the more passes a page is left out.
    private bool IsSkipped(int page)
    {
        byte age = _age[page];
        if (age < byte.MaxValue)
        {
            _age[page]++;
        }

        if (age < 3)
        {
            return false;
        }

        if (_skips[page] == 0)
        {
            _skips[page] = (byte)(age <= 3 ? 1 : age <= 5 ? 2 : age <= 8 ? 4 : 8);
            return false;
        }

        _skips[page]--;
        return true;
    }
}

/// <summary>As the kernel comes, with run=1: 100 pages every 20 ms.</summary>
internal sealed class KsmDefaults(ScaledHost host, CostModel cost, double step) : KsmMerger(host, cost, step)
{
    public override string Name => "ksmd, defaults";
}

/// <summary>advisor_mode=scan-time with its defaults: 200 s per pass, at most 70 % of a CPU, 500 to 30,000 pages.</summary>
internal sealed class KsmAdvisor : KsmMerger
{
    private const double Target = 200, CpuMax = 70, CpuMin = 10, PagesMin = 500, PagesMax = 30_000, Weight = 30;
    private double _lastSeconds;
    private double _change = 100;

    public KsmAdvisor(ScaledHost host, CostModel cost, double step)
        : base(host, cost, step) => PagesToScan = PagesMin;

    public override string Name => "ksmd, scan-time advisor";

    // scan_time_advisor: nothing is known before the first pass has ended.
    protected override void AfterPass()
    {
        double cpuPercent = Math.Max(PassCpu * 100 / PassSeconds, 1e-9);
        double factor = Math.Max(Target * 100 / PassSeconds, 1);
        if (_lastSeconds == 0)
        {
            _lastSeconds = PassSeconds;
        }

        double change = Math.Max(PassSeconds * 100 / _lastSeconds, 1);
        _change = (((100 - Weight) * _change) + (Weight * change)) / 100;
        double pages = PagesToScan * 100 / factor * _change / 100;
        double perPercent = Math.Max(PagesToScan / cpuPercent, 1);
        pages = Math.Min(pages, perPercent * CpuMax);
        pages = Math.Max(pages, perPercent * CpuMin);
        PagesToScan = Math.Clamp(pages, PagesMin, PagesMax);
        _lastSeconds = PassSeconds;
    }
}

/// <summary>
/// ksmtuned (oVirt's vdsm, Proxmox): looks at free memory every minute; 300 pages more when it is short, 50 fewer when
/// not, 64 to 1,250 pages every 10 ms; stops while there is plenty.
/// </summary>
internal sealed class KsmTuned : KsmMerger
{
    private const double Interval = 60, Boost = 300, Decay = -50, PagesMin = 64, PagesMost = 1250, Share = 0.2;
    private readonly double _memory;
    private double _pages = PagesMin;
    private double _next = Interval;

    public KsmTuned(ScaledHost host, CostModel cost, double step, long memoryBytes)
        : base(host, cost, step)
    {
        _memory = (double)memoryBytes / PageSize.Bytes;
        PagesToScan = 0;
        Sleep = 0.01;
    }

    public override string Name => "ksmd, ksmtuned";

    protected override void Tune(double now)
    {
        if (now < _next)
        {
            return;
        }

        _next += Interval;
        double committed = Host.Present(now), threshold = _memory * Share;
        if (committed + threshold < _memory)
        {
            PagesToScan = 0;
            return;
        }

        double free = _memory - committed + SavedPages;
        _pages = Math.Clamp(_pages + (free < threshold ? Boost : Decay), PagesMin, PagesMost);
        PagesToScan = _pages;
    }
}
