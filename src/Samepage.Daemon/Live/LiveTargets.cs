using System.Globalization;
using Samepage.Linux;
using Samepage.Linux.Host;

namespace Samepage.Daemon.Live;

/// <summary>Targets that are live processes: the live machine in the daemon's words.</summary>
public sealed class LiveTargets : ITargetProvider
{
    private const double NanosecondsPerMicrosecond = 1000;
    private readonly LiveMachine _machine;

    private LiveTargets(LiveMachine machine) => _machine = machine;

    /// <inheritdoc/>
    public IMachine Machine => _machine;

    /// <summary>Opens the live machine with its keeper.</summary>
    /// <exception cref="RequestException">This host cannot do it, or the caller may not.</exception>
    public static LiveTargets Open(KeeperLink keeper)
    {
        ArgumentNullException.ThrowIfNull(keeper);
        return Translated(() =>
        {
            KernelFeatures.Probe().ThrowIfUnusable();
            var machine = LiveMachine.Open(new LiveMachineOptions { Keeper = keeper });
            try
            {
                keeper.Connect();
                return new LiveTargets(machine);
            }
            catch
            {
                machine.Dispose();
                throw;
            }
        });
    }

    /// <inheritdoc/>
    public string DefaultDomain(int pid) =>
        ProcessFacts.RealUserId(pid) is { } uid
            ? string.Create(CultureInfo.InvariantCulture, $"uid:{uid}")
            : throw new RequestException(ExitCode.NotFound, $"there is no process {pid}");

    /// <inheritdoc/>
    public ITarget Attach(int pid, string domain, IReadOnlyList<PageRange>? ranges) =>
        Translated(() => _machine.Attach(pid, new AttachRequest { Domain = domain, Ranges = ranges }));

    /// <inheritdoc/>
    public void Detach(ITarget target)
    {
        var live = (LiveTarget)target;
        if (!live.IsAlive)
        {
            _machine.Forget(live);
            return;
        }

        Translated(() => _machine.Detach(live));
    }

    /// <inheritdoc/>
    public IReadOnlyList<Samepage.Daemon.LeftBehind> FindLeftBehind() => Translated<IReadOnlyList<Samepage.Daemon.LeftBehind>>(() =>
        [.. _machine.FindLeftBehind().Select(left => new Samepage.Daemon.LeftBehind(left.Pid, left.Domain, left.Ranges))]);

    /// <inheritdoc/>
    public StopTimes StopTimes()
    {
        StopHistogram stops = _machine.StopTimes;
        return new StopTimes(
            stops.Count,
            stops.Percentile(0.5) / NanosecondsPerMicrosecond,
            stops.Percentile(0.99) / NanosecondsPerMicrosecond,
            stops.MaxNanoseconds / NanosecondsPerMicrosecond,
            [.. stops.Buckets().Select(bucket =>
                new StopTimesBucket(bucket.UpTo / NanosecondsPerMicrosecond, bucket.Count))]);
    }

    /// <inheritdoc/>
    public void Dispose() => _machine.Dispose();

    private static T Translated<T>(Func<T> call)
    {
        try
        {
            return call();
        }
        catch (TargetException error)
        {
            throw new RequestException(Code(error.Error), error.Message, error);
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
