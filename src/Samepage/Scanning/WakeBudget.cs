namespace Samepage;

/// <summary>
/// What one wake-up may do: a number of page visits (pages_to_scan), or CPU time (advisor_mode cpu), or anything
/// (a synchronous merge, which cuts itself into pieces).
/// </summary>
internal sealed class WakeBudget(IMachine machine)
{
    private long _visits;
    private TimeSpan _cpuEnd;
    private TimeSpan _walkLeft;
    private TimeSpan _cpuLeft;
    private long _lookedAt;
    private CancellationToken _cancel;

    public bool IsCancelled => _cancel.IsCancellationRequested;

    /// <summary>True when no further page may be visited.</summary>
    public bool IsExhausted => _visits <= 0 || IsCancelled || (_cpuEnd != TimeSpan.MaxValue && IsCpuSpent());

    /// <summary>True when walking over unwritten memory has taken its time, or no page may be visited anyway.</summary>
    public bool IsWalkExhausted => _walkLeft <= TimeSpan.Zero || IsExhausted;

    /// <summary>Visits that may be made.</summary>
    public long VisitsLeft => _visits;

    /// <summary>Anything, until cancelled.</summary>
    public void Unlimited(CancellationToken cancel)
    {
        _visits = long.MaxValue;
        _cpuEnd = TimeSpan.MaxValue;
        _walkLeft = TimeSpan.MaxValue;
        _cancel = cancel;
    }

    /// <summary>Of anything, that many visits next.</summary>
    public void Piece(long visits) => _visits = visits;

    /// <summary>Exactly that many visits, or fewer when the pass ends before.</summary>
    /// <param name="visits">Visits of pages.</param>
    /// <param name="walk">Time after which walking over memory nobody wrote ends the wake-up too. It is no visit,
    /// but with very much memory it is not nothing.</param>
    public void Visits(long visits, TimeSpan walk)
    {
        _visits = visits;
        _cpuEnd = TimeSpan.MaxValue;
        _walkLeft = walk;
        _cancel = CancellationToken.None;
    }

    /// <summary>As much as that CPU time allows.</summary>
    public void Cpu(TimeSpan quantum)
    {
        _visits = long.MaxValue;
        _cpuEnd = machine.CpuTime + quantum;
        _cpuLeft = quantum;
        _lookedAt = machine.Clock.GetTimestamp();
        _walkLeft = TimeSpan.MaxValue;
        _cancel = CancellationToken.None;
    }

    /// <summary>Counts visits.</summary>
    public void Spend(int visits) => _visits -= visits;

    /// <summary>Counts the time of walking, from <paramref name="start"/> until now.</summary>
    public void SpendWalk(long start)
    {
        if (_walkLeft != TimeSpan.MaxValue)
        {
            _walkLeft -= machine.Clock.GetElapsedTime(start);
        }
    }

    /// <summary>Start of a measurement of walking.</summary>
    public long WalkStart() => _walkLeft == TimeSpan.MaxValue ? 0 : machine.Clock.GetTimestamp();

    // CPU time is dear to ask for, and one thread cannot have used more of it than time has passed: as long as the
    // clock says that there must be some left, it is not asked.
    private bool IsCpuSpent()
    {
        TimeSpan elapsed = machine.Clock.GetElapsedTime(_lookedAt);
        if (elapsed < _cpuLeft)
        {
            return false;
        }

        _lookedAt = machine.Clock.GetTimestamp();
        _cpuLeft = _cpuEnd - machine.CpuTime;
        return _cpuLeft <= TimeSpan.Zero;
    }
}
