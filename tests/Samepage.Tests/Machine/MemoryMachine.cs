using Samepage.Simulation;

namespace Samepage.Tests;

/// <summary>
/// A machine in memory for the engine: processes that are arrays, stores that are dictionaries, time that passes when
/// told. It knows what every process has written, and <see cref="Check"/> asks the one question that matters: does each
/// process read exactly what it wrote?
/// </summary>
public sealed class MemoryMachine : IMachine
{
    private readonly Dictionary<string, MemoryStore> _stores = [];
    private readonly List<MemoryProcess> _processes = [];
    private readonly Dictionary<(MemoryFault Fault, int Pid, ulong Page), int> _faults = [];
    private readonly List<string> _violations = [];

    public ManualClock Time { get; } = new();

    public TimeProvider Clock => Time;

    public TimeSpan CpuTime { get; private set; }

    /// <summary>CPU time for one page read, and a 512th of it for one walked over.</summary>
    public TimeSpan CpuPerPage { get; set; } = TimeSpan.FromTicks(10);

    /// <summary>Not null: plans are carried out beside the engine, and this decides when.</summary>
    public Random? Beside { get; set; }

    /// <summary>What programs do while the engine looks at memory; only with <see cref="Beside"/>.</summary>
    public Action? Meanwhile { get; set; }

    public IReadOnlyList<MemoryProcess> Processes => _processes;

    public MemoryStore OpenStore(string domain)
    {
        if (!_stores.TryGetValue(domain, out MemoryStore? store))
        {
            store = new MemoryStore(this, domain);
            _stores.Add(domain, store);
        }

        return store;
    }

    IPageStore IMachine.OpenStore(string domain) => OpenStore(domain);

    /// <summary>The stores as a new daemon finds them: with everything the old one wrote.</summary>
    public void ReopenStore(string domain)
    {
        MemoryStore old = OpenStore(domain);
        uint end = old.PagesUsed == 0 ? 0 : old.SlotsUsed.Max() + 1;
        var reopened = new MemoryStore(this, domain, end);
        foreach (uint slot in old.SlotsUsed)
        {
            reopened.Plant(slot, old.ContentOf(slot));
        }

        _stores[domain] = reopened;
        foreach (MemoryProcess process in _processes)
        {
            process.Rebind(old, reopened);
        }
    }

    public MemoryProcess Start(params PageRange[] regions)
    {
        var process = new MemoryProcess(this, 1000 + _processes.Count);
        _processes.Add(process);
        foreach (PageRange region in regions)
        {
            process.Map(region);
        }

        return process;
    }

    internal void Add(MemoryProcess process) => _processes.Add(process);

    public void Spend(long pagesRead, long pagesWalked)
    {
        TimeSpan cpu = (CpuPerPage * pagesRead) + (CpuPerPage * (pagesWalked / 512.0));
        CpuTime += cpu;
        Time.Advance(cpu);
    }

    /// <summary>Makes something go wrong.</summary>
    /// <param name="fault">What.</param>
    /// <param name="times">How often; int.MaxValue: always.</param>
    /// <param name="process">Only in this process.</param>
    /// <param name="page">Only at this page.</param>
    public void Inject(MemoryFault fault, int times = int.MaxValue, MemoryProcess? process = null, ulong page = 0) =>
        _faults[(fault, process?.Pid ?? 0, page)] = times;

    public void ClearFaults() => _faults.Clear();

    public bool Has(MemoryFault fault) => _faults.ContainsKey((fault, 0, 0));

    /// <summary>True when the fault happens here and now; it has then happened once.</summary>
    public bool Fires(MemoryFault fault, int pid = 0, ulong page = 0) =>
        _faults.Count > 0 && (FiresAt((fault, 0, 0)) || FiresAt((fault, pid, 0)) || FiresAt((fault, pid, page)));

    public void Violation(string what) => _violations.Add(what);

    /// <summary>
    /// What is wrong: bytes read that were not written, rules of the store broken. Empty when nothing is.
    /// </summary>
    public IReadOnlyList<string> Check()
    {
        var wrong = new List<string>(_violations);
        foreach (MemoryProcess process in _processes.Where(process => process.IsAlive))
        {
            process.CheckSlots(wrong);
        }

        var pages = new List<Violation>();
        MemoryChecker.CheckPages(_processes, pages);
        wrong.AddRange(pages.Select(violation => violation.What));
        return wrong;
    }

    private bool FiresAt((MemoryFault Fault, int Pid, ulong Page) key)
    {
        if (!_faults.TryGetValue(key, out int times))
        {
            return false;
        }

        if (times == 1)
        {
            _faults.Remove(key);
        }
        else if (times != int.MaxValue)
        {
            _faults[key] = times - 1;
        }

        return true;
    }
}
