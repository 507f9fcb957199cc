using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>One random history.</summary>
internal sealed class RandomRun(int seed)
{
    private const ulong Span = 1200;

    private static readonly string[] Domains = ["a", "b"];

    private static readonly MemoryFault[] Faults =
    [
        MemoryFault.TornRead, MemoryFault.ReadFails, MemoryFault.WrittenBeforeExecute,
        MemoryFault.DroppedBeforeExecute, MemoryFault.Pinned, MemoryFault.OverVmaBudget, MemoryFault.ThreadArea,
        MemoryFault.AsyncWriters, MemoryFault.Refused, MemoryFault.TargetBusy, MemoryFault.TargetExits,
        MemoryFault.StoreFull,
    ];

    private readonly Random _random = new(seed);

    // Its own, so that every run does the same with sampling and without.
    private readonly Random _samplingEnds = new(seed);
    private readonly MemoryMachine _machine = new();
    private World _world = null!;
    private ulong _nextAddress = World.Base;
    private int? _startAfter;

    public List<string> Log { get; } = [];

    public MemoryFault Mutant { get; init; }

    /// <summary>How pages are sampled; by default all of them in every second run.</summary>
    public SamplingOptions Sampling { get; init; } = new() { PagesMin = seed % 2 };

    private List<MemoryProcess> Alive => [.. _machine.Processes.Where(process => process.IsAlive)];

    /// <summary>Plans that were carried out while the engine went on.</summary>
    public int CarriedOutBeside => _machine.Processes.Sum(process => process.CarriedOutBeside);

    /// <summary>Plans are carried out beside the engine, and programs write while it scans.</summary>
    public void WorkBeside()
    {
        _machine.Beside = new Random(seed);
        _machine.Meanwhile = () =>
        {
            if (Alive.Count > 0)
            {
                Write(Alive[_random.Next(Alive.Count)]);
            }
        };
        _startAfter = _random.Next(1, 300);
    }

    /// <summary>Runs, checking after each action and everything at the end.</summary>
    public void Go(int actions)
    {
        NewWorld((ulong)seed);
        for (int i = 0; i < actions; i++)
        {
            if (_samplingEnds.Next(10) == 0)
            {
                _machine.Inject(MemoryFault.SamplingEnds, times: 1);
            }

            Act();
            Assert.Empty(_machine.Check());
        }

        _machine.ClearFaults();
        _machine.Meanwhile = null;
        _world.Set("max_kernel_pages", "0");
        _world.Set("use_zero_pages", "1");
        _world.Set("run", "1");
        _world.Set("advisor_mode", "cpu");
        if (_world.Engine.Targets.Any(target => target.Target.IsAlive))
        {
            _world.CheckAtRest();
            _world.Merge();
            _world.Merge();
            _world.CheckAtRest();
            CheckConverged();
        }
    }

    /// <summary>Runs until the checker finds something wrong.</summary>
    public bool Finds()
    {
        _world = new World(_machine, (ulong)seed, Sampling);
        for (int i = 0; i < 250; i++)
        {
            _machine.Inject(Mutant);
            try
            {
                Act();
            }
            catch (Exception e) when (e is InvalidOperationException or InvariantException)
            {
                return true;
            }

            if (_machine.Check().Count > 0)
            {
                return true;
            }
        }

        return false;
    }

    private void NewWorld(ulong engineSeed)
    {
        _world = new World(_machine, engineSeed, Sampling);
        _world.Engine.PagesStartedAtOnce = _startAfter ?? _world.Engine.PagesStartedAtOnce;
    }

    private void Act()
    {
        int choice = _random.Next(100);
        if (Alive.Count == 0 || (choice < 6 && Alive.Count < 6))
        {
            Start();
            return;
        }

        MemoryProcess process = Alive[_random.Next(Alive.Count)];
        Action action = choice switch
        {
            < 30 => () => Write(process),
            < 36 => () => Drop(process),
            < 39 => () => Unmap(process),
            < 42 => () => Map(process),
            < 45 => () => Move(process),
            < 47 => () => Do("fork", () => process.Fork()),
            < 49 => () => Do($"exit {process.Pid}", process.Exit),
            < 51 => Unregister,
            < 54 => Unmerge,
            < 60 => () => Do("merge", () => _world.Merge()),
            < 67 => () => Fault(process),
            < 70 => () => Do("faults gone", _machine.ClearFaults),
            < 73 => Set,
            < 75 => Restart,
            _ => () => Do("steps", Step),
        };
        action();
    }

    private void Do(string name, Action action)
    {
        Log.Add(name);
        action();
    }

    private void Start()
    {
        ulong address = _nextAddress;
        _nextAddress += 100_000;
        MemoryProcess process = _machine.Start(new PageRange(address, address + Span));
        string domain = Domains[_random.Next(Domains.Length)];
        Do($"start {process.Pid} in {domain}", () => _world.Engine.Register(process, domain));
        Write(process);
        Write(process);
    }

    private void Write(MemoryProcess process)
    {
        PageRange range = Part(process);
        int style = _random.Next(4);
        ulong salt = (ulong)_random.Next(3);
        Do($"write {process.Pid} {range} {style}/{salt}", () => process.Fill(range, page => style switch
        {
            0 => 0,
            1 => 1 + salt,
            2 => 100 + (page % 100_000) + (salt * 1_000_000),
            _ => page + ((ulong)process.Pid << 32),
        }));
    }

    private void Drop(MemoryProcess process)
    {
        PageRange range = Part(process);
        Do($"drop {process.Pid} {range}", () =>
        {
            foreach (ulong page in MemoryProcess.PagesOf(range))
            {
                process.Drop(page);
            }
        });
    }

    private void Unmap(MemoryProcess process)
    {
        PageRange range = Part(process);
        Do($"unmap {process.Pid} {range}", () => process.Unmap(range));
    }

    private void Map(MemoryProcess process)
    {
        var range = new PageRange(_nextAddress, _nextAddress + (ulong)_random.Next(1, 600));
        _nextAddress += 100_000;
        Do($"map {process.Pid} {range}", () => process.Map(range));
        process.Fill(range, page => 100 + (page % 100_000));
    }

    private void Move(MemoryProcess process)
    {
        PageRange range = Part(process);
        ulong to = _nextAddress + (ulong)_random.Next(600);
        _nextAddress += 100_000;
        Do($"move {process.Pid} {range}", () => process.Move(range, to));
    }

    private void Unregister()
    {
        if (_world.Engine.Targets.Count == 0)
        {
            return;
        }

        RegisteredTarget target = _world.Engine.Targets[_random.Next(_world.Engine.Targets.Count)];
        Do($"unregister {target.Target.Pid}", () => _world.Engine.Unregister(target));
    }

    private void Unmerge()
    {
        RegisteredTarget[] some = [.. _world.Engine.Targets.Where(_ => _random.Next(2) == 0)];
        Do("unmerge", () => _world.Engine.Unmerge(some, null, TestContext.Current.CancellationToken));
    }

    private void Fault(MemoryProcess process)
    {
        MemoryFault fault = Faults[_random.Next(Faults.Length)];
        PageRange range = Part(process);
        int times = _random.Next(3) switch { 0 => 1, 1 => _random.Next(1, 100), _ => int.MaxValue };
        bool everywhere = _random.Next(2) == 0;
        Do($"fault {fault} x{times}", () => _machine.Inject(
            fault,
            times,
            everywhere ? null : process,
            everywhere || _random.Next(2) == 0 ? 0 : range.Start));
    }

    private void Set()
    {
        (string Name, string Value)[] settings =
        [
            ("max_page_sharing", "2"), ("max_page_sharing", "5"), ("max_page_sharing", "0"),
            ("max_page_sharing", "256"), ("max_kernel_pages", "50"), ("max_kernel_pages", "0"),
            ("use_zero_pages", "0"), ("use_zero_pages", "1"), ("pages_to_scan", "70"), ("advisor_mode", "cpu"),
        ];
        (string name, string value) = settings[_random.Next(settings.Length)];
        Do($"{name}={value}", () => _world.Set(name, value));
    }

    /// <summary>The daemon dies, and a new one finds some of its targets.</summary>
    private void Restart()
    {
        Log.Add("restart");
        (MemoryProcess, string)[] left =
        [
            .. _world.Engine.Targets.Where(target => target.Target.IsAlive && _random.Next(5) > 0)
                .Select(target => ((MemoryProcess)target.Target, target.Domain)),
        ];
        foreach (string domain in Domains)
        {
            _machine.ReopenStore(domain);
        }

        NewWorld((ulong)_random.Next());
        foreach ((MemoryProcess process, string domain) in left)
        {
            process.ForgetTracking();
            _world.Engine.Register(process, domain);
        }
    }

    private void Step()
    {
        for (int i = _random.Next(1, 40); i > 0; i--)
        {
            TimeSpan sleep = _world.Engine.Step();
            _machine.Time.Advance(sleep < TimeSpan.Zero ? TimeSpan.Zero : sleep);
        }
    }

    private PageRange Part(MemoryProcess process)
    {
        IReadOnlyList<PageRange> mapped = process.Mapped;
        if (mapped.Count == 0)
        {
            Map(process);
        }

        PageRange range = mapped[_random.Next(mapped.Count)];
        ulong start = range.Start + (ulong)_random.NextInt64((long)range.Count);
        ulong length = (ulong)Math.Min((long)(range.End - start), _random.Next(4) == 0 ? 1 : _random.Next(1, 700));
        return new PageRange(start, start + length);
    }

    /// <summary>Of each content, at most one page of each domain is still private.</summary>
    private void CheckConverged()
    {
        var wrong = new List<Violation>();
        foreach (string domain in Domains)
        {
            MemoryChecker.CheckConverged(
                domain,
                _world.Engine.Targets.Where(target => target.Domain == domain)
                    .Select(target => (IObservedProcess)target.Target),
                (_, _) => true,
                wrong);
        }

        Assert.Empty(wrong);
    }
}
