using Samepage.Daemon;

namespace Samepage.Tests;

/// <summary>
/// Targets in memory for a daemon. Prepared processes are attached by their made-up ids; any real process id gets a
/// small process in memory of its own, so that what only depends on /proc (children, ends) can be tested for real.
/// </summary>
internal sealed class MemoryTargets : ITargetProvider
{
    private readonly object _lock = new();
    private readonly List<ITarget> _attached = [];

    public MemoryMachine Machine { get; } = new();

    IMachine ITargetProvider.Machine => Machine;

    public List<LeftBehind> LeftBehind { get; } = [];

    public StopTimes Stops { get; set; } = Samepage.StopTimes.None;

    public int Disposed { get; private set; }

    /// <summary>Refuses everything with this when set.</summary>
    public RequestException? Refusal { get; set; }

    /// <summary>Ids attached now.</summary>
    public IReadOnlyList<int> Attached
    {
        get
        {
            lock (_lock)
            {
                return [.. _attached.Select(target => target.Pid)];
            }
        }
    }

    public string DefaultDomain(int pid) => "d";

    public ITarget Attach(int pid, string domain, IReadOnlyList<PageRange>? ranges)
    {
        if (Refusal is not null)
        {
            throw Refusal;
        }

        ITarget? target = Machine.Processes.FirstOrDefault(process => process.Pid == pid && process.IsAlive);
        if (target is null && Directory.Exists($"/proc/{pid}"))
        {
            target = new MemoryProcess(Machine, pid);
        }

        lock (_lock)
        {
            _attached.Add(target ?? throw new RequestException(ExitCode.NotFound, $"there is no process {pid}"));
            return target;
        }
    }

    public void Detach(ITarget target)
    {
        lock (_lock)
        {
            Xunit.Assert.True(_attached.Remove(target), "detached twice");
        }
    }

    public void SetRanges(ITarget target, IReadOnlyList<PageRange> ranges, PageRange? added)
    {
        if (added is { } range && !target.Regions.Any(region => region.Intersect(range) == range))
        {
            throw new RequestException(ExitCode.NotFound, $"process {target.Pid} has no memory at {range}");
        }
    }

    public IReadOnlyList<LeftBehind> FindLeftBehind() => LeftBehind;

    public StopTimes StopTimes() => Stops;

    public void Dispose() => Disposed++;
}
