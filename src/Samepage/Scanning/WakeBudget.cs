namespace Samepage;

/// <summary>
/// What one wake-up may do: a number of page visits (pages_to_scan), or CPU time (advisor_mode cpu), or anything
/// (a synchronous merge, which cuts itself into pieces).
/// </summary>
internal sealed class WakeBudget(IMachine machine)
{
    private long _visits;
    private TimeSpan _cpuEnd;
    private TimeSpan _walkEnd;
    private CancellationToken _cancel;

    public bool IsCancelled => _cancel.IsCancellationRequested;

    /// <summary>True when no further page may be visited.</summary>
    public bool IsExhausted =>
        _visits <= 0 || IsCancelled || (_cpuEnd != TimeSpan.MaxValue && machine.CpuTime >= _cpuEnd);

    /// <summary>True when walking over unwritten memory has taken its time.</summary>
    public bool IsWalkExhausted =>
        IsCancelled || (_walkEnd != TimeSpan.MaxValue && machine.CpuTime >= _walkEnd);

    /// <summary>Anything, until cancelled.</summary>
    public void Unlimited(CancellationToken cancel)
    {
        _visits = long.MaxValue;
        _cpuEnd = TimeSpan.MaxValue;
        _walkEnd = TimeSpan.MaxValue;
        _cancel = cancel;
    }

    /// <summary>Of anything, that many visits next.</summary>
    public void Piece(long visits) => _visits = visits;

    /// <summary>Exactly that many visits, or fewer when the pass ends before.</summary>
    /// <param name="visits">Visits of pages.</param>
    /// <param name="walk">CPU time after which walking over memory nobody wrote ends the wake-up too. It is no visit,
    /// but with very much memory it is not nothing.</param>
    public void Visits(long visits, TimeSpan walk)
    {
        _visits = visits;
        _cpuEnd = TimeSpan.MaxValue;
        _walkEnd = machine.CpuTime + walk;
        _cancel = CancellationToken.None;
    }

    /// <summary>As much as that CPU time allows.</summary>
    public void Cpu(TimeSpan quantum)
    {
        _visits = long.MaxValue;
        _cpuEnd = machine.CpuTime + quantum;
        _walkEnd = _cpuEnd;
        _cancel = CancellationToken.None;
    }

    /// <summary>How many of <paramref name="wanted"/> visits may be made; they are counted.</summary>
    public int Take(int wanted)
    {
        int allowed = (int)Math.Min(wanted, _visits);
        _visits -= allowed;
        return allowed;
    }
}
