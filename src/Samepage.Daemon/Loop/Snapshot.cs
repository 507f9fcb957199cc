using System.Globalization;
using Samepage.Daemon.Api;

namespace Samepage.Daemon.Loop;

/// <summary>Snapshots of the engine as documents of the API.</summary>
internal static class Snapshot
{
    private static readonly long Started = TimeProvider.System.GetTimestamp();

    internal static string Version { get; } = typeof(Snapshot).Assembly.GetName().Version!.ToString(3);

    internal static StatusDocument Status(EngineStatus status, int targets, StopTimes stopTimes) => new()
    {
        Run = status.Run,
        FullScans = status.FullScans,
        PagesScanned = status.PagesScanned,
        PagesShared = status.PagesShared,
        PagesSharing = status.PagesSharing,
        PagesUnshared = status.PagesUnshared,
        PagesVolatile = status.PagesVolatile,
        ZeroPages = status.ZeroPages,
        RegisteredPages = status.RegisteredPages,
        StorePages = status.StorePages,
        BytesSaved = status.BytesSaved,
        MetadataBytes = status.MetadataBytes,
        ProfitBytes = status.ProfitBytes,
        CpuSeconds = Seconds(status.CpuTime),
        NotMerged = ByName(status.NotMerged),
        Domains = [.. status.Domains.Select(Domain)],
        StopTimes = stopTimes,
        Targets = targets,
        Pid = Environment.ProcessId,
        Version = Version,
        UptimeSeconds = Seconds(TimeProvider.System.GetElapsedTime(Started)),
    };

    internal static TargetDocument Target(RegisteredTarget target, bool followChildren)
    {
        var status = target.Status();
        return new TargetDocument
        {
            Pid = status.Pid,
            Name = status.Name,
            Domain = status.Domain,
            Regions = status.Regions,
            RegisteredPages = status.RegisteredPages,
            PresentPages = status.PresentPages,
            MergedPages = status.MergedPages,
            ZeroPages = status.ZeroPages,
            BytesSaved = status.BytesSaved,
            Vmas = status.Vmas,
            NotMerged = ByName(status.NotMerged),
            FollowChildren = followChildren,
        };
    }

    internal static MergeDocument Merge(MergeReport report) => new()
    {
        PagesMerged = report.PagesMerged,
        ZeroPages = report.ZeroPages,
        BytesSaved = report.BytesSaved,
        ElapsedSeconds = Seconds(report.Elapsed),
        CpuSeconds = Seconds(report.CpuTime),
        Complete = report.Complete,
        Targets = [.. report.Targets.Select(target => new MergedTargetDocument(
            target.Pid, target.Name, target.PagesMerged, target.ZeroPages, target.BytesSaved))],
    };

    internal static UnmergeDocument Unmerge(UnmergeReport report, IEnumerable<RegisteredTarget> targets) => new()
    {
        PagesUnmerged = report.PagesUnmerged,
        PagesLeft = report.PagesLeft,
        ElapsedSeconds = Seconds(report.Elapsed),
        Targets = [.. targets.Select(target => new UnmergedTargetDocument(target.Target.Pid, target.Target.Name))],
    };

    internal static ProblemDocument Problem(RequestException error) => new()
    {
        Title = Title(error.Code),
        Status = HttpStatus(error.Code),
        Detail = error.Message,
        ExitCode = (int)error.Code,
    };

    private static DomainDocument Domain(DomainStatus domain) => new()
    {
        Name = domain.Name,
        Targets = domain.Targets,
        PagesShared = domain.PagesShared,
        PagesSharing = domain.PagesSharing,
        PagesUnshared = domain.PagesUnshared,
        PagesVolatile = domain.PagesVolatile,
        ZeroPages = domain.ZeroPages,
        BytesSaved = domain.BytesSaved,
    };

    private static string Title(ExitCode code) => code switch
    {
        ExitCode.Usage => "Bad request",
        ExitCode.HostNotSupported => "Host not supported",
        ExitCode.NotPermitted => "Not permitted",
        ExitCode.NotFound => "No such process or region",
        _ => "Failed",
    };

    private static int HttpStatus(ExitCode code) => code switch
    {
        ExitCode.Usage => 400,
        ExitCode.HostNotSupported => 501,
        ExitCode.NotPermitted => 403,
        ExitCode.NotFound => 404,
        _ => 409,
    };

    // Microseconds are more than the clocks behind these figures give; without rounding JSON shows 17 digits.
    private static double Seconds(TimeSpan time) => Math.Round(time.TotalSeconds, 6);

    private static Dictionary<string, long> ByName(IReadOnlyDictionary<NotMergedReason, long> reasons) =>
        reasons.ToDictionary(pair => pair.Key.JsonName(), pair => pair.Value);
}
