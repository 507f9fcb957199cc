namespace Samepage.Simulation;

/// <summary>How a simulated machine is built.</summary>
public sealed record MachineOptions
{
    /// <summary>Number of CPUs.</summary>
    public int Processors { get; init; } = 4;

    /// <summary>How secondary MMUs hear of new pages.</summary>
    public NotificationRule Rule { get; init; } = NotificationRule.ChangePte;

    /// <summary>What is broken on purpose.</summary>
    public Mutant Mutant { get; init; }

    /// <summary>CPU time the engine is charged for one page read or merged, and a 512th of it for one walked over.
    /// </summary>
    public TimeSpan CpuPerPage { get; init; } = TimeSpan.FromTicks(10);

    /// <summary>Remember what every program has written, so that it can be checked. 16 bytes for each page.</summary>
    public bool RemembersWrites { get; init; } = true;
}

/// <summary>
/// A computer in memory for the engine: physical frames, address spaces, CPUs with translation caches, stores, and time
/// that passes when told. Deterministic: what happens depends on the calls and on nothing else.
/// </summary>
public sealed class SimulatedMachine : IMachine
{
    private readonly List<SimulatedStore> _stores = [];
    private readonly List<SimulatedProcess> _processes = [];
    private readonly List<HypervisorGuest> _guests = [];
    private readonly List<Violation> _violations = [];
    private int _lastPid = 999;

    public SimulatedMachine(MachineOptions? options = null)
    {
        Options = options ?? new MachineOptions();
        Memory = new MemoryManager(Options.Processors, Options.Rule, Options.Mutant);
        Ksm = new KsmPrimitives(Memory, this);
    }

    public MachineOptions Options { get; }

    public MemoryManager Memory { get; }

    public KsmPrimitives Ksm { get; }

    public VirtualClock Time { get; } = new();

    public TimeProvider Clock => Time;

    public TimeSpan CpuTime { get; private set; }

    /// <summary>All processes ever started, in order.</summary>
    public IReadOnlyList<SimulatedProcess> Processes => _processes;

    public IReadOnlyList<SimulatedStore> Stores => _stores;

    /// <summary>All virtual machines ever started.</summary>
    public IReadOnlyList<HypervisorGuest> Guests => _guests;

    /// <summary>Who may let other CPUs run while the machine works for the engine; null: nobody.</summary>
    public IInterleaver? Interleaver { get; set; }

    /// <summary>Decides whether something goes wrong now; null: nothing does.</summary>
    public Func<MachineFault, bool>? Faults { get; set; }

    /// <summary>Rules that were seen broken so far.</summary>
    public IReadOnlyList<Violation> Violations => _violations;

    public SimulatedStore OpenStore(string domain)
    {
        SimulatedStore? store = _stores.Find(each => each.Domain == domain);
        if (store is null)
        {
            store = new SimulatedStore(this, Memory, domain, _stores.Count);
            _stores.Add(store);
        }

        return store;
    }

    IPageStore IMachine.OpenStore(string domain) => OpenStore(domain);

    /// <summary>The stores as a new daemon finds them.</summary>
    public void ReopenStores()
    {
        for (int i = 0; i < _stores.Count; i++)
        {
            _stores[i] = _stores[i].Reopen();
        }
    }

    /// <summary>Starts a process with areas of private writable memory.</summary>
    public SimulatedProcess Start(params ReadOnlySpan<PageRange> areas)
    {
        SimulatedProcess process = Add(Memory.CreateSpace());
        foreach (PageRange area in areas)
        {
            process.Map(area);
        }

        return process;
    }

    internal SimulatedProcess Add(AddressSpace space)
    {
        Invariant.Check(space.Id == _processes.Count);
        var process = new SimulatedProcess(this, space, ++_lastPid);
        _processes.Add(process);
        return process;
    }

    internal void Add(HypervisorGuest guest) => _guests.Add(guest);

    internal void Point(SchedulingPoint point, SimulatedProcess? process = null, ulong page = 0) =>
        Interleaver?.At(point, process, page);

    internal void Point(SchedulingPoint point, in HeldPage held) =>
        Interleaver?.At(point, _processes[held.Space.Id], held.Page);

    internal bool Fires(MachineFault fault) => Faults is not null && Faults(fault);

    internal void Spend(long pages, long pagesWalked)
    {
        TimeSpan cpu = (Options.CpuPerPage * pages) + (Options.CpuPerPage * (pagesWalked / 512.0));
        CpuTime += cpu;
        Time.Advance(cpu);
    }

    internal void Violation(string check, string what) => _violations.Add(new Violation(check, what));
}
