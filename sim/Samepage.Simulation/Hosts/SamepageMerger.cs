namespace Samepage.Simulation.Hosts;

/// <summary>
/// Ours: write tracking lists what was written since the pass before; only that is read; what is not listed again is
/// decided about one pass later. The pace is a share of one CPU.
/// </summary>
internal sealed class SamepageMerger(ScaledHost host, CostModel cost, double step, double cpuPercent)
    : Merger(host, cost, step)
{
    // Pages of a run that is merged, on average: counted in the three guests of examples/guests.
    private const double RunPages = 13;

    private readonly Dictionary<ulong, int> _unstable = [];
    private readonly uint[] _seen = new uint[host.Count];
    private readonly bool[] _decided = new bool[host.Count];
    private readonly byte[] _listedIn = new byte[host.Count];
    private int _cursor;
    private byte _pass = 1;
    private double _budget;
    private double _begun;
    private bool _foundWork;

    public override string Name => FormattableString.Invariant($"samepage, {cpuPercent:0} % of a CPU");

    protected override bool TakesZerosAway => true;

    protected override void Scan(double now)
    {
        _budget = Math.Min(_budget, 0) + (StepSeconds * cpuPercent / 100);
        if (_cursor == 0 && now < _begun)
        {
            return; // found nothing: the next pass begins a second later
        }

        double began = Cpu;
        while (_budget > 0)
        {
            double before = Cpu;
            Visit(_cursor, now);
            _budget -= Cpu - before;
            if (++_cursor == Host.Count)
            {
                _cursor = 0;
                FullScans++;
                _pass = (byte)(_pass == 1 ? 2 : 1);
                _begun = _foundWork ? now : now + 1;
                _foundWork = false;
                // Further passes in this step would find next to nothing new, but they walk: at most one a second.
                double walk = Walk(now);
                double passes = Math.Min(StepSeconds - 1, _budget / Math.Max(walk, 1e-9));
                Cpu += passes > 0 && Cpu - began > 0 ? walk * passes : 0;
                break;
            }
        }
    }

    protected override void Forget(int page)
    {
        _seen[page] = 0;
        _decided[page] = false;
    }

    private double Walk(double now) => Host.Present(now) * Cost.WalkPage;

    private void Visit(int page, double now)
    {
        if (!Host.IsThere(page, now))
        {
            return;
        }

        double weight = Host.Weight(page);
        Cpu += Cost.WalkPage * weight;
        if (IsMerged[page])
        {
            return;
        }

        _ = Host.Look(page, now);
        uint version = Host.Version[page] + 1;
        if (_seen[page] != version)
        {
            _foundWork = true;
            _seen[page] = version;
            _decided[page] = false;
            _listedIn[page] = _pass;
            Cpu += Cost.ReadPage * weight;
        }
        else if (!_decided[page] && _listedIn[page] != _pass)
        {
            _decided[page] = true;
            Decide(page, weight);
        }
    }

    private void Decide(int page, double weight)
    {
        ulong content = Host.Content[page];
        double merging = (Cost.MergePage + (Cost.MergeRun / RunPages)) * weight;
        if (Host.IsZero(page))
        {
            Merge(page);
            Cpu += Cost.MergePage * weight;
        }
        else if (IsStable(content))
        {
            Merge(page);
            Cpu += merging;
        }
        else if (_unstable.Remove(content, out int partner) && partner != page && !IsMerged[partner]
            && Host.Content[partner] == content && Host.Version[partner] == _seen[partner] - 1)
        {
            Merge(partner);
            Merge(page);
            Cpu += 2 * merging;
        }
        else
        {
            _unstable[content] = page;
        }
    }
}
