namespace Samepage.Simulation;

/// <summary>
/// One random history: the production engine over a simulated machine whose CPUs run programs in the middle of
/// everything the engine does, while things go wrong. After every tick everything is checked. In the end nothing goes
/// wrong any more, and everything equal has to become merged.
/// </summary>
public sealed class SeededRun : IInterleaver
{
    private const int LogKept = 30;
    private const int StepsMax = 100_000;

    private static readonly string[] Domains = ["a", "b"];
    private static readonly MachineFault[] AllFaults = Enum.GetValues<MachineFault>();

    private readonly RunOptions _options;
    private readonly SeededRandom _random;
    private readonly SimulatedMachine _machine;
    private readonly Workload _workload;
    private readonly Queue<string> _log = [];
    private readonly Dictionary<SimulatedProcess, string> _domains = [];
    private readonly int[] _faultRates = new int[AllFaults.Length];
    private Knobs _knobs = new();
    private Engine _engine;
    private long _tick;
    private long _interleaved;
    private long _faults;
    private long _scansBefore;

    public SeededRun(RunOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _random = new SeededRandom(options.Seed);
        _machine = new SimulatedMachine(new MachineOptions
        {
            Processors = options.Processors,
            Mutant = options.Mutant,
            Rule = options.Rule,
        })
        {
            Interleaver = this,
        };
        _machine.Faults = Fires;
        _workload = new Workload(_machine, _random, new Log(_log));
        _engine = new Engine(_machine, _knobs, options.Seed, Sampling);
    }

    /// <summary>The machine, to look at.</summary>
    public SimulatedMachine Machine => _machine;

    /// <summary>In every second run merges sample whatever they can, in the others only what is worth it.</summary>
    private SamplingOptions Sampling =>
        _options.Seed % 2 == 1 ? new SamplingOptions { PagesMin = 1 } : SamplingOptions.Default;

    private List<RegisteredTarget> AliveTargets => [.. _engine.Targets.Where(target => target.Target.IsAlive)];

    /// <summary>Runs, until something is found or everything has converged.</summary>
    /// <param name="progress">Told the tick now and then.</param>
    /// <param name="cancel">Ends it early, without converging.</param>
    public RunResult Go(IProgress<long>? progress = null, CancellationToken cancel = default)
    {
        RunFailure? failure = null;
        try
        {
            while (_tick < _options.Ticks && failure is null)
            {
                cancel.ThrowIfCancellationRequested();
                _tick++;
                Tick();
                failure = FailureOf(MachineChecker.Check(_machine));
                if (_tick % 1024 == 0)
                {
                    progress?.Report(_tick);
                }
            }

            if (failure is null)
            {
                _tick++;
                failure = FailureOf(Converge());
            }
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            failure = new RunFailure(_tick, "assertion", $"{e.GetType().Name}: {e.Message}", [.. _log]);
        }

        return new RunResult(
            _options,
            Math.Min(_tick, _options.Ticks),
            _workload.Operations,
            _interleaved,
            _scansBefore + _engine.Status().FullScans,
            _machine.Processes.Sum(process => process.PagesReplaced),
            _machine.Memory.Breaks,
            _faults,
            failure);
    }

    /// <inheritdoc/>
    public void At(SchedulingPoint point, SimulatedProcess? process, ulong page)
    {
        int oneIn = point switch
        {
            SchedulingPoint.HalfRead => 24,
            SchedulingPoint.Listed or SchedulingPoint.StoreWritten => 4,
            _ => 2,
        };
        if (!_random.OneIn(oneIn))
        {
            return;
        }

        // Half of what happens now happens to the very page.
        _workload.Focus = _random.OneIn(2) && process is not null ? (process, page) : null;
        for (int steps = 1 + _random.Next(3); steps > 0; steps--)
        {
            _interleaved++;
            if (point == SchedulingPoint.Locked)
            {
                _workload.LocklessStep();
            }
            else
            {
                _workload.Step();
            }
        }

        _workload.Focus = null;
    }

    private bool Fires(MachineFault fault)
    {
        int rate = _faultRates[(int)fault];
        bool fires = rate > 0 && _random.OneIn(rate);
        _faults += fires ? 1 : 0;
        return fires;
    }

    private void Tick()
    {
        int choice = _random.Next(100);
        if (_workload.Alive.Count < 2 || (choice < 3 && _workload.Alive.Count < 6))
        {
            SimulatedProcess process = _workload.Start();
            Register(process, _random.OneIn(3) ? Domains[1] : Domains[0]);
            return;
        }

        switch (choice)
        {
            case < 45:
                EngineSteps(1 + _random.Next(4));
                break;
            case < 51:
                Note("merge");
                _engine.Merge(null, null, CancellationToken.None);
                break;
            case < 53:
                Unmerge();
                break;
            case < 55:
                RegisterChild();
                break;
            case < 57:
                Unregister();
                break;
            case < 59:
                SetKnob();
                break;
            case < 60:
                Restart();
                break;
            case < 63:
                ChangeFaults();
                break;
            default:
                _workload.Step();
                break;
        }
    }

    private void EngineSteps(int steps)
    {
        Note($"{steps} steps");
        for (; steps > 0; steps--)
        {
            TimeSpan sleep = _engine.Step();
            _machine.Time.Advance(sleep < TimeSpan.Zero ? TimeSpan.FromMilliseconds(20) : sleep);
        }
    }

    private void Register(SimulatedProcess process, string domain)
    {
        Note($"register {process.Name} in {domain}");
        _domains[process] = domain;
        process.ForgetTracking();
        _engine.Register(process, domain);
    }

    private void RegisterChild()
    {
        SimulatedProcess? child = _workload.Alive.Find(
            process => !_engine.Targets.Any(target => target.Target == process));
        if (child is not null)
        {
            // What it maps from a store, it maps from its parent's.
            string? store = child.Observe().FirstOrDefault(page => page.Store is not null).Store;
            Register(child, store ?? _domains.GetValueOrDefault(child) ?? Domains[0]);
        }
    }

    private void Unregister()
    {
        if (_engine.Targets.Count > 0)
        {
            RegisteredTarget target = _random.Pick(_engine.Targets);
            Note($"unregister {target.Target.Name}");
            _engine.Unregister(target);
        }
    }

    private void Unmerge()
    {
        RegisteredTarget[] some = [.. _engine.Targets.Where(_ => _random.OneIn(2))];
        Note($"unmerge {some.Length}");
        _engine.Unmerge(some, null, CancellationToken.None);
    }

    private void SetKnob()
    {
        (string Name, string Value)[] settings =
        [
            ("max_page_sharing", "2"), ("max_page_sharing", "5"), ("max_page_sharing", "0"),
            ("max_page_sharing", "256"), ("max_kernel_pages", "20"), ("max_kernel_pages", "0"),
            ("use_zero_pages", "0"), ("use_zero_pages", "1"), ("pages_to_scan", "70"), ("advisor_mode", "cpu"),
        ];
        (string name, string value) = _random.Pick(settings);
        Set(name, value);
    }

    private void Set(string name, string value)
    {
        Note($"{name}={value}");
        Invariant.Check(_knobs.TrySet(name, value, out _));
    }

    private void ChangeFaults()
    {
        if (!_options.HasFaults)
        {
            return;
        }

        if (_random.OneIn(3))
        {
            Note("faults gone");
            Array.Clear(_faultRates);
            return;
        }

        MachineFault fault = _random.Pick(AllFaults);
        _faultRates[(int)fault] = 1 + _random.Next(40);
        Note($"fault {fault} one in {_faultRates[(int)fault]}");
    }

    /// <summary>The daemon dies, and a new one finds some of its targets.</summary>
    private void Restart()
    {
        Note("restart");
        (SimulatedProcess, string)[] left =
        [
            .. AliveTargets.Where(_ => _random.Next(5) > 0)
                .Select(target => ((SimulatedProcess)target.Target, target.Domain)),
        ];
        _scansBefore += _engine.Status().FullScans;
        _machine.ReopenStores();
        _knobs = new Knobs();
        _engine = new Engine(_machine, _knobs, _random.NextWord(), Sampling);
        foreach ((SimulatedProcess process, string domain) in left)
        {
            Register(process, domain);
        }
    }

    private List<Violation> Converge()
    {
        Note("converge");
        Array.Clear(_faultRates);
        _machine.Interleaver = null;
        _workload.ComeToRest();
        Set("max_kernel_pages", "0");
        Set("use_zero_pages", "1");
        Set("advisor_mode", "cpu");
        if (AliveTargets.Count == 0)
        {
            return MachineChecker.Check(_machine);
        }

        Rest();
        _engine.Merge(null, null, CancellationToken.None);
        _engine.Merge(null, null, CancellationToken.None);
        Rest();
        return CheckAtRest();
    }

    /// <summary>Waits until no counter can be out of date any more: two passes hear of every write; the audit, a
    /// part every half second, of everything else.</summary>
    private void Rest()
    {
        for (int i = 0; i < 40; i++)
        {
            _machine.Time.Advance(TimeSpan.FromSeconds(1));
            long scans = _engine.Status().FullScans;
            for (int step = 0; _engine.Status().FullScans == scans; step++)
            {
                Invariant.Check(step < StepsMax);
                _machine.Time.Advance(_engine.Step());
            }
        }
    }

    private List<Violation> CheckAtRest()
    {
        List<Violation> wrong = MachineChecker.Check(_machine);
        List<RegisteredTarget> targets = AliveTargets;
        EngineStatus status = _engine.Status();
        MemoryChecker.CheckCounters(
            status,
            [.. targets.Select(target => target.Status())],
            [.. targets.Select(target => (IObservedProcess)target.Target)],
            IsUnderCare,
            wrong);
        MemoryChecker.CheckStores(status, domain => _machine.OpenStore(domain).PagesUsed, wrong);
        foreach (string domain in Domains)
        {
            MemoryChecker.CheckConverged(
                domain,
                targets.Where(target => target.Domain == domain).Select(target => (IObservedProcess)target.Target),
                IsUnderCare,
                wrong);
        }

        return wrong;
    }

    private static bool IsUnderCare(IObservedProcess process, ulong page) =>
        ((SimulatedProcess)process).Space.TryFindVma(page, out Vma vma) && vma.IsWritable;

    private RunFailure? FailureOf(List<Violation> wrong) =>
        wrong.Count == 0 ? null : new RunFailure(_tick, wrong[0].Check, wrong[0].What, [.. _log]);

    private void Note(string what) => new Log(_log).Add(what);

    /// <summary>Keeps the last few lines.</summary>
    private sealed class Log(Queue<string> lines) : System.Collections.ObjectModel.Collection<string>
    {
        protected override void InsertItem(int index, string item)
        {
            lines.Enqueue(item);
            if (lines.Count > LogKept)
            {
                lines.Dequeue();
            }
        }
    }
}
