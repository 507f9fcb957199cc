using System.Globalization;
using Samepage.Daemon.Loop;
using Samepage.Linux.Interop;

namespace Samepage.Daemon.AdminFiles;

/// <summary>
/// The 24 files of Linux 6.x (Documentation/admin-guide/mm/ksm.rst), in the kernel's order, with its error numbers
/// (checked against Linux 6.18 by a test).
/// </summary>
internal static class ModernFiles
{
    private const ulong MicrosecondsPerMillisecond = 1000;

    internal static IReadOnlyList<AdminFile> All { get; } =
    [
        new("sleep_millisecs", SleepMilliseconds, UInt32((k, number) => SetSleepMilliseconds(k, number))),
        new("pages_to_scan", at => Text(at.PagesToScan), StorePagesToScan),
        new("run", at => Text(at.Run), StoreRun),
        new("pages_scanned", at => Text(at.Status.PagesScanned)),
        new("pages_shared", at => Text(at.Status.PagesShared)),
        new("pages_sharing", at => Text(at.Status.PagesSharing)),
        new("pages_unshared", at => Text(at.Status.PagesUnshared)),
        new("pages_volatile", at => Text(at.Status.PagesVolatile)),
        new("pages_skipped", at => Text(at.Status.PagesSkipped)),
        new("ksm_zero_pages", at => Text(at.Status.ZeroPages)),
        new("full_scans", at => Text(at.Status.FullScans)),
        new("merge_across_nodes", _ => "1", StoreMergeAcrossNodes),
        new("max_page_sharing", at => Text(at.MaxPageSharing), StoreMaxPageSharing),
        new("stable_node_chains", at => Text(at.Status.StableNodeChains)),
        new("stable_node_dups", at => Text(at.Status.StableNodeDups)),
        new(
            "stable_node_chains_prune_millisecs",
            at => Text(at.PruneMilliseconds),
            UInt32((knobs, number) => knobs.StableNodeChainsPruneMillisecs = number)),
        new("use_zero_pages", at => at.UseZeroPages ? "1" : "0", Boolean((k, value) => k.UseZeroPages = value)),
        new("general_profit", at => Text(at.Status.BytesSaved - at.Status.PageRecordBytes)),
        new("smart_scan", at => at.SmartScan ? "1" : "0", Boolean((knobs, value) => knobs.SmartScan = value)),
        new("advisor_mode", ShowAdvisor, StoreAdvisor),
        new("advisor_max_cpu", at => Text(at.AdvisorMaxCpu), UInt64((k, number) => k.AdvisorMaxCpu = (uint)number)),
        new(
            "advisor_min_pages_to_scan",
            at => Text(at.AdvisorMinPages),
            UInt64((knobs, number) => knobs.AdvisorMinPagesToScan = number)),
        new(
            "advisor_max_pages_to_scan",
            at => Text(at.AdvisorMaxPages),
            UInt64((knobs, number) => knobs.AdvisorMaxPagesToScan = number)),
        new("advisor_target_scan_time", at => Text(at.AdvisorTarget), StoreTarget),
    ];

    // The first KSM's microseconds, rounded up: 0 is shown only for no sleep at all.
    internal static string SleepMilliseconds(AdminSnapshot at) =>
        Text((at.SleepMicroseconds + MicrosecondsPerMillisecond - 1) / MicrosecondsPerMillisecond);

    internal static void SetSleepMilliseconds(Knobs knobs, ulong milliseconds) =>
        knobs.SleepMicroseconds = milliseconds * MicrosecondsPerMillisecond;

    private static int StorePagesToScan(Supervisor supervisor, string text, CancellationToken interrupted)
    {
        // Our own advisor, which KSM's users do not know of, steps back instead.
        if (supervisor.Engine.Knobs.Advisor == AdvisorMode.ScanTime
            || KernelNumbers.ToUInt32(text, out var pages) != 0)
        {
            return Errno.EINVAL;
        }

        return supervisor.Store(knobs => knobs.PagesToScan = pages);
    }

    private static int StoreRun(Supervisor supervisor, string text, CancellationToken interrupted) =>
        KernelNumbers.ToUInt32(text, out var run) != 0 || run > 2
            ? Errno.EINVAL
            : supervisor.StoreRun((int)run, interrupted);

    // There is one tree for all nodes: 1 is the truth, and 0 would be a promise.
    private static int StoreMergeAcrossNodes(Supervisor supervisor, string text, CancellationToken interrupted)
    {
        var error = KernelNumbers.ToUInt64(text, out var number);
        return error != 0 ? error : number == 1 ? 0 : Errno.EINVAL;
    }

    private static int StoreMaxPageSharing(Supervisor supervisor, string text, CancellationToken interrupted)
    {
        var error = KernelNumbers.ToInt32(text, out var mappings);
        if (error != 0 || mappings < 2)
        {
            return error != 0 ? error : Errno.EINVAL;
        }

        if (mappings == supervisor.Engine.Knobs.MaxPageSharing)
        {
            return 0;
        }

        return supervisor.Engine.Status().PagesShared != 0
            ? Errno.EBUSY
            : supervisor.Store(knobs => knobs.MaxPageSharing = mappings);
    }

    private static string ShowAdvisor(AdminSnapshot at) => at.Advisor switch
    {
        AdvisorMode.None => "[none] scan-time",
        AdvisorMode.ScanTime => "none [scan-time]",
        _ => "none scan-time [cpu]", // ours, and in force: to show one of the others would be wrong
    };

    private static int StoreAdvisor(Supervisor supervisor, string text, CancellationToken interrupted)
    {
        AdvisorMode? mode = KernelNumbers.Is(text, "none") ? AdvisorMode.None
            : KernelNumbers.Is(text, "scan-time") ? AdvisorMode.ScanTime
            : KernelNumbers.Is(text, "cpu") ? AdvisorMode.Cpu
            : null;
        return mode is { } known ? supervisor.Store(knobs => knobs.Advisor = known) : Errno.EINVAL;
    }

    private static int StoreTarget(Supervisor supervisor, string text, CancellationToken interrupted) =>
        KernelNumbers.ToUInt64(text, out var seconds) != 0 || seconds == 0
            ? Errno.EINVAL
            : supervisor.Store(knobs => knobs.AdvisorTargetScanTime = seconds);

    private static AdminStore UInt32(Action<Knobs, uint> set) => (supervisor, text, _) =>
        KernelNumbers.ToUInt32(text, out var number) != 0
            ? Errno.EINVAL
            : supervisor.Store(knobs => set(knobs, number));

    private static AdminStore UInt64(Action<Knobs, ulong> set) => (supervisor, text, _) =>
        KernelNumbers.ToUInt64(text, out var number) != 0
            ? Errno.EINVAL
            : supervisor.Store(knobs => set(knobs, number));

    private static AdminStore Boolean(Action<Knobs, bool> set) => (supervisor, text, _) =>
        KernelNumbers.ToBoolean(text, out var value) != 0
            ? Errno.EINVAL
            : supervisor.Store(knobs => set(knobs, value));

    private static string Text<T>(T number)
        where T : IFormattable => number.ToString(null, CultureInfo.InvariantCulture);
}
