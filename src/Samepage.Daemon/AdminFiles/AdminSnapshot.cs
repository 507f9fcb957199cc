namespace Samepage.Daemon.AdminFiles;

/// <summary>Settings and counters at one moment between two wake-ups of the engine: what reading files shows.</summary>
internal sealed class AdminSnapshot
{
    internal AdminSnapshot(Knobs knobs, EngineStatus status)
    {
        Status = status;
        Run = knobs.Run;
        RunFlags = knobs.RunFlags;
        PagesToScan = knobs.PagesToScan;
        SleepMicroseconds = knobs.SleepMicroseconds;
        MaxKernelPages = knobs.MaxKernelPages;
        MaxPageSharing = knobs.MaxPageSharing;
        PruneMilliseconds = knobs.StableNodeChainsPruneMillisecs;
        UseZeroPages = knobs.UseZeroPages;
        SmartScan = knobs.SmartScan;
        Advisor = knobs.Advisor;
        AdvisorMaxCpu = knobs.AdvisorMaxCpu;
        AdvisorMinPages = knobs.AdvisorMinPagesToScan;
        AdvisorMaxPages = knobs.AdvisorMaxPagesToScan;
        AdvisorTarget = knobs.AdvisorTargetScanTime;
    }

    internal EngineStatus Status { get; }

    internal int Run { get; }

    internal uint RunFlags { get; }

    internal uint PagesToScan { get; }

    internal ulong SleepMicroseconds { get; }

    internal ulong MaxKernelPages { get; }

    internal int MaxPageSharing { get; }

    internal uint PruneMilliseconds { get; }

    internal bool UseZeroPages { get; }

    internal bool SmartScan { get; }

    internal AdvisorMode Advisor { get; }

    internal uint AdvisorMaxCpu { get; }

    internal ulong AdvisorMinPages { get; }

    internal ulong AdvisorMaxPages { get; }

    internal ulong AdvisorTarget { get; }
}
