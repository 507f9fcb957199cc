namespace Samepage.Simulation;

/// <summary>What an exhaustive search covers.</summary>
public sealed record ExhaustiveOptions
{
    /// <summary>Actions of programs put anywhere between and inside the engine's scan steps.</summary>
    public int Actions { get; init; } = 2;

    /// <summary>Initial contents to start from, as bits: which of the four pages have the second content.
    /// </summary>
    public IReadOnlyList<int> Starts { get; init; } = AllStarts;

    /// <summary>What is broken on purpose.</summary>
    public Mutant Mutant { get; init; }

    /// <summary>All initial contents that differ in more than the contents' names.</summary>
    public static IReadOnlyList<int> AllStarts { get; } = [.. Enumerable.Range(0, 8)];
}

/// <summary>What an exhaustive search found.</summary>
/// <param name="Histories">Histories run.</param>
/// <param name="Moments">Most moments at which an action was possible in one history.</param>
/// <param name="PagesMerged">Pages merged in all of them.</param>
/// <param name="Failure">What was found; null when nothing was. Its tick is the number of the history.</param>
public sealed record ExhaustiveResult(long Histories, int Moments, long PagesMerged, RunFailure? Failure);

/// <summary>
/// All histories of a small world: two processes with two pages each and two contents; the engine makes scan steps, and
/// at every moment between and inside them a program may write, fork, exit, or be unregistered, up to a number of
/// actions. Not sampled: every combination is run, and in each everything has to hold and to converge.
/// </summary>
public sealed class ExhaustiveSearch(ExhaustiveOptions options)
{
    private const int ScanSteps = 3;
    private const ulong Base = 1 << 20;

    /// <summary>Runs all histories, or until something is found.</summary>
    /// <param name="progress">Told the number of histories now and then.</param>
    /// <param name="cancel">Ends it early.</param>
    public ExhaustiveResult Go(IProgress<long>? progress = null, CancellationToken cancel = default)
    {
        long histories = 0;
        long merged = 0;
        int moments = 0;
        foreach (int start in options.Starts)
        {
            var choices = new Choices();
            do
            {
                cancel.ThrowIfCancellationRequested();
                var history = new History(options, start, choices);
                RunFailure? failure = history.Go(++histories);
                merged += history.PagesMerged;
                moments = Math.Max(moments, history.Moments);
                if (failure is not null)
                {
                    return new ExhaustiveResult(histories, moments, merged, failure);
                }

                if (histories % 4096 == 0)
                {
                    progress?.Report(histories);
                }
            }
            while (choices.Advance());
        }

        return new ExhaustiveResult(histories, moments, merged, null);
    }

    private sealed class History : IInterleaver
    {
        private readonly Choices _choices;
        private readonly int _start;
        private readonly SimulatedMachine _machine;
        private readonly Engine _engine;
        private readonly List<SimulatedProcess> _processes = [];
        private readonly List<string> _log = [];
        private int _actionsLeft;
        private bool _ends;

        public History(ExhaustiveOptions options, int start, Choices choices)
        {
            (_start, _choices, _actionsLeft) = (start, choices, options.Actions);
            _machine = new SimulatedMachine(new MachineOptions { Processors = 2, Mutant = options.Mutant });
            _engine = new Engine(_machine, new Knobs(), 1);
        }

        /// <summary>Moments at which an action was possible.</summary>
        public int Moments { get; private set; }

        public long PagesMerged => _machine.Processes.Sum(process => process.PagesReplaced);

        public RunFailure? Go(long number)
        {
            List<Violation> wrong;
            try
            {
                Begin();
                for (int i = 0; i < ScanSteps; i++)
                {
                    _log.Add("scan step");
                    _machine.Time.Advance(_engine.Step() is var sleep && sleep > TimeSpan.Zero ? sleep : TimeSpan.Zero);
                    Outside();
                }

                wrong = MachineChecker.Check(_machine);
                if (wrong.Count == 0)
                {
                    wrong = Converge();
                }
            }
            catch (Exception e) when (e is InvariantException or InvalidOperationException)
            {
                wrong = [new Violation("assertion", e.Message)];
            }

            return wrong.Count == 0 ? null : new RunFailure(number, wrong[0].Check, wrong[0].What, _log);
        }

        public void At(SchedulingPoint point, SimulatedProcess? process, ulong page)
        {
            // Replaced and StoreWritten are followed by Planned, with nothing in between.
            if (_actionsLeft == 0 || _ends || point is SchedulingPoint.Replaced or SchedulingPoint.StoreWritten)
            {
                return;
            }

            Moments++;
            if (point == SchedulingPoint.Locked)
            {
                // Only writes through a translation that a CPU remembers.
                Act(_choices.Next(1 + (_processes.Count * 4)) - 1, point, locked: true);
            }
            else
            {
                Act(_choices.Next(1 + (_processes.Count * 6)) - 1, point, locked: false);
            }
        }

        private void Begin()
        {
            for (int i = 0; i < 2; i++)
            {
                var area = new PageRange(Base, Base + 2);
                SimulatedProcess process = _machine.Start(area);
                for (ulong page = 0; page < 2; page++)
                {
                    int bit = (i * 2) + (int)page;
                    process.Write(i, Base + page, PageContent.Of(1 + (((ulong)_start >> bit) & 1)));
                }

                _processes.Add(process);
                _engine.Register(process, "d");
            }

            _machine.Interleaver = this;
        }

        /// <summary>Between two scan steps a process may be unregistered too.</summary>
        private void Outside()
        {
            if (_actionsLeft == 0)
            {
                return;
            }

            Moments++;
            int choice = _choices.Next(1 + (_processes.Count * 6) + _engine.Targets.Count) - 1;
            int unregister = choice - (_processes.Count * 6);
            if (unregister < 0)
            {
                Act(choice, null, locked: false);
                return;
            }

            _actionsLeft--;
            _log.Add($"unregister {_engine.Targets[unregister].Target.Name}");
            _engine.Unregister(_engine.Targets[unregister]);
        }

        /// <summary>-1: nothing; else for each process four writes, fork and exit.</summary>
        private void Act(int choice, SchedulingPoint? point, bool locked)
        {
            if (choice < 0)
            {
                return;
            }

            _actionsLeft--;
            int perProcess = locked ? 4 : 6;
            int index = choice / perProcess;
            SimulatedProcess process = _processes[index];
            int action = choice % perProcess;
            if (!process.IsAlive || (process.IsLocked && action >= 4))
            {
                return;
            }

            string at = point is null ? "" : $" at {point}";
            if (action < 4)
            {
                ulong page = Base + ((ulong)action & 1);
                ulong word = 1 + ((ulong)action >> 1);
                _log.Add($"{process.Name} writes {word} to page {page - Base}{at}");
                Write(process, index % 2, page, word, locked);
            }
            else if (action == 4)
            {
                _log.Add($"{process.Name} forks{at}");
                SimulatedProcess child = process.Fork();
                if (_processes.Count < 3)
                {
                    _processes.Add(child);
                }
            }
            else
            {
                _log.Add($"{process.Name} exits{at}");
                process.Exit();
            }
        }

        private static void Write(SimulatedProcess process, int cpu, ulong page, ulong word, bool locked)
        {
            for (int half = 0; half < 2; half++)
            {
                if (locked)
                {
                    process.WriteHalfWithoutWalk(cpu, page, half, word);
                }
                else
                {
                    process.WriteHalf(cpu, page, half, word);
                }
            }
        }

        private List<Violation> Converge()
        {
            _ends = true;
            _log.Add("converge");
            _engine.Merge(null, null, CancellationToken.None);
            for (int i = 0; i < 2; i++)
            {
                TimeSpan sleep = _engine.Step();
                _machine.Time.Advance(sleep > TimeSpan.Zero ? sleep : TimeSpan.Zero);
            }

            List<Violation> wrong = MachineChecker.Check(_machine);
            List<RegisteredTarget> targets = [.. _engine.Targets.Where(target => target.Target.IsAlive)];
            if (targets.Count == 0)
            {
                return wrong;
            }

            IObservedProcess[] registered = [.. targets.Select(target => (IObservedProcess)target.Target)];
            MemoryChecker.CheckCounters(
                _engine.Status(), [.. targets.Select(target => target.Status())], registered, (_, _) => true, wrong);
            MemoryChecker.CheckStores(_engine.Status(), domain => _machine.OpenStore(domain).PagesUsed, wrong);
            MemoryChecker.CheckConverged("d", registered, (_, _) => true, wrong);
            return wrong;
        }
    }
}
