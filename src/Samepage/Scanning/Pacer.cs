namespace Samepage;

/// <summary>How much a wake-up does and how long to sleep after it.</summary>
internal sealed class Pacer(IMachine machine, Knobs knobs)
{
    // CPU time of one wake-up under the advisor: short enough that requests are answered at once.
    private static readonly TimeSpan Quantum = TimeSpan.FromMilliseconds(10);

    // Time a wake-up of pages_to_scan may spend walking over memory nobody wrote.
    private static readonly TimeSpan WalkMax = TimeSpan.FromMilliseconds(2);

    // With nothing to do, sleep grows up to this: the longest a new page waits to be noticed.
    private static readonly TimeSpan IdleMax = TimeSpan.FromSeconds(1);

    private readonly ScanTimeAdvisor _scanTime = new(machine, knobs);
    private TimeSpan _idle;
    private TimeSpan _cpuStart;
    private long _wallStart;

    public void Begin(WakeBudget budget)
    {
        _cpuStart = machine.CpuTime;
        _wallStart = machine.Clock.GetTimestamp();
        if (knobs.AdvisorCpu)
        {
            budget.Cpu(Quantum);
        }
        else
        {
            if (knobs.Advisor == AdvisorMode.ScanTime)
            {
                _scanTime.Begin();
            }

            budget.Visits(knobs.PagesToScan, WalkMax);
        }
    }

    /// <summary>How long to sleep now.</summary>
    /// <param name="passEnded">The wake-up ended with a pass.</param>
    /// <param name="foundWork">Something was visited or merged in that pass.</param>
    public TimeSpan End(bool passEnded, bool foundWork)
    {
        TimeSpan sleep = TimeSpan.FromTicks((long)knobs.SleepMicroseconds * TimeSpan.TicksPerMicrosecond);
        if (passEnded && knobs.Advisor == AdvisorMode.ScanTime)
        {
            _scanTime.PassEnded();
        }

        if (!knobs.AdvisorCpu)
        {
            return sleep;
        }

        // CPU time used / (time since the start of the wake-up + sleep) = advisor_max_cpu percent.
        TimeSpan used = machine.CpuTime - _cpuStart;
        TimeSpan elapsed = machine.Clock.GetElapsedTime(_wallStart);
        TimeSpan owed = (used * (100.0 / knobs.CpuPercentMax)) - elapsed;
        if (!passEnded)
        {
            return owed > TimeSpan.Zero ? owed : TimeSpan.Zero;
        }

        // The next pass begins a pause later, or the two visits of a page would follow each other at once.
        _idle = foundWork || _idle == TimeSpan.Zero ? sleep : _idle * 2;
        TimeSpan idleMax = sleep > IdleMax ? sleep : IdleMax;
        _idle = _idle < idleMax ? _idle : idleMax;
        return owed > _idle ? owed : _idle;
    }
}
