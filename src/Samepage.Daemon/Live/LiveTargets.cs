using Samepage.Daemon.Hosting;
using Samepage.Linux;
using Samepage.Linux.Host;
using Samepage.Linux.Interception;
using Samepage.Linux.Proc;

namespace Samepage.Daemon.Live;

/// <summary>Targets that are live processes: the live machine, with its refusals turned into exit codes.</summary>
public sealed class LiveTargets : ITargetProvider
{
    private readonly LiveMachine machine;

    private readonly IMergedMemoryKeeper keeper;

    private LiveTargets(LiveMachine machine, IMergedMemoryKeeper keeper)
    {
        this.machine = machine;
        this.keeper = keeper;
    }

    /// <inheritdoc/>
    public IMachine Machine => machine;

    /// <summary>Opens the live machine.</summary>
    /// <param name="keeper">Keeps merged memory while there is no daemon.</param>
    /// <param name="home">Which daemon this is: its socket.</param>
    /// <exception cref="RequestException">This host cannot do it.</exception>
    public static ITargetProvider Open(IMergedMemoryKeeper keeper, string home) =>
        Asking(() =>
        {
            KernelFeatures.Probe().ThrowIfUnusable();
            return new LiveTargets(LiveMachine.Open(new LiveMachineOptions { Keeper = keeper, Home = home }), keeper);
        });

    /// <inheritdoc/>
    public string DefaultDomain(int pid) => Asking(() => $"uid:{TargetProcess.RealUid(pid)}");

    /// <inheritdoc/>
    public ITarget Attach(int pid, string domain, IReadOnlyList<PageRange>? ranges) =>
        Asking(() => machine.Attach(pid, new AttachRequest { Domain = domain, Ranges = ranges }));

    /// <inheritdoc/>
    public void Detach(ITarget target)
    {
        var live = (LiveTarget)target;
        if (live.IsAlive)
        {
            _ = Asking(() => machine.Detach(live));
        }
        else
        {
            machine.Forget(live);
        }
    }

    /// <inheritdoc/>
    public void SetRanges(ITarget target, IReadOnlyList<PageRange> ranges, PageRange? added) =>
        _ = Asking(() =>
        {
            ((LiveTarget)target).SetRanges(ranges, added);
            return true;
        });

    /// <inheritdoc/>
    public IReadOnlyList<LeftBehind> FindLeftBehind() =>
        [.. machine.FindLeftBehind().Select(left => new LeftBehind(left.Pid, left.Domain, left.Ranges))];

    /// <inheritdoc/>
    public StopTimes StopTimes()
    {
        var times = machine.StopTimes;
        return new StopTimes(
            times.Count, times.Percentile(0.5) / 1e3, times.Percentile(0.99) / 1e3, times.MaxNanoseconds / 1e3,
            [.. times.Buckets().Select(bucket => new StopTimesBucket(bucket.UpTo / 1e3, bucket.Count))]);
    }

    /// <inheritdoc/>
    public CommandRuns? OpenRuns(Action changed) =>
        keeper is IDescriptorKeeper descriptors ? new CommandRuns(descriptors, changed) : null;

    /// <inheritdoc/>
    public void ListAgain(ITarget target, IEnumerable<PageRange> pages)
    {
        foreach (var range in pages)
        {
            ((LiveTarget)target).ListAgain(range);
        }
    }

    /// <inheritdoc/>
    public long BreakSharing(ITarget target, IEnumerable<PageRange> pages) =>
        pages.Sum(range => ((LiveTarget)target).BreakSharing(range));

    /// <inheritdoc/>
    public void Dispose() => machine.Dispose();

    /// <summary>Turns refusals of the live machine into the daemon's.</summary>
    internal static T Asking<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (TargetException error)
        {
            throw new RequestException(Code(error.Error), error.Message, error);
        }
        catch (IOException error)
        {
            throw new RequestException(ExitCode.Failed, error.Message, error);
        }
    }

    private static ExitCode Code(TargetError error) => error switch
    {
        TargetError.NoSuchProcess or TargetError.NoSuchRegion => ExitCode.NotFound,
        TargetError.NotPermitted => ExitCode.NotPermitted,
        TargetError.HostNotSupported => ExitCode.HostNotSupported,
        TargetError.Usage => ExitCode.Usage,
        _ => ExitCode.Failed,
    };
}
