using System.Globalization;
using Samepage.Daemon.Loop;
using Samepage.Linux.Interop;

namespace Samepage.Daemon.AdminFiles;

/// <summary>
/// The files of the patch set of April 2009 ("v4", with /dev/ksm) and of the series that was merged for Linux 2.6.32 as
/// it was in June ("KSM: current madvise rollup"). In both, pages_shared means pages saved and kernel_pages_allocated
/// is what pages_shared means since.
/// </summary>
internal static class FilesOf2009
{
    /// <summary>Numbers are taken as the integers of that time took them: their low 32 bits, no range checks.</summary>
    internal static IReadOnlyList<AdminFile> V4 { get; } =
    [
        new("sleep", at => Text(at.SleepMicroseconds), Low32((knobs, number) => knobs.SleepMicroseconds = number)),
        new("pages_to_scan", at => Text(at.PagesToScan), Low32(SetPagesToScan)),
        new("run", at => Text(at.RunFlags), Low32((knobs, number) => knobs.RunFlags = number)),
        new("pages_shared", PagesSaved),
        new("kernel_pages_allocated", PagesAllocated),
        new("max_kernel_pages", at => Text(at.MaxKernelPages), Low32((knobs, n) => knobs.MaxKernelPages = n)),
    ];

    internal static IReadOnlyList<AdminFile> Merged { get; } =
    [
        new("max_kernel_pages", at => Text(at.MaxKernelPages), Number(ulong.MaxValue, (k, n) => k.MaxKernelPages = n)),
        new("kernel_pages_allocated", PagesAllocated),
        new("pages_shared", PagesSaved),
        new("pages_to_scan", at => Text(at.PagesToScan), Number(uint.MaxValue, (k, n) => SetPagesToScan(k, (uint)n))),
        new("sleep_millisecs", ModernFiles.SleepMilliseconds, Number(uint.MaxValue, ModernFiles.SetSleepMilliseconds)),
        new("run", at => Text(at.Run), StoreRun),
    ];

    // Zero pages were merged like others then; ours are taken away: saved all the same.
    private static string PagesSaved(AdminSnapshot at) => Text((ulong)(at.Status.PagesSharing + at.Status.ZeroPages));

    private static string PagesAllocated(AdminSnapshot at) => Text((ulong)at.Status.PagesShared);

    // There were no advisors: pages_to_scan is obeyed.
    private static void SetPagesToScan(Knobs knobs, uint pages)
    {
        knobs.Advisor = AdvisorMode.None;
        knobs.PagesToScan = pages;
    }

    private static int StoreRun(Supervisor supervisor, string text, CancellationToken interrupted) =>
        KernelNumbers.ToUInt64As2009(text, out var run) != 0 || run > 2
            ? Errno.EINVAL
            : supervisor.StoreRun((int)run, interrupted);

    private static AdminStore Low32(Action<Knobs, uint> set) => (supervisor, text, _) =>
        KernelNumbers.ToUInt64As2009(text, out var number) != 0
            ? Errno.EINVAL
            : supervisor.Store(knobs => set(knobs, (uint)number));

    private static AdminStore Number(ulong max, Action<Knobs, ulong> set) => (supervisor, text, _) =>
        KernelNumbers.ToUInt64As2009(text, out var number) != 0 || number > max
            ? Errno.EINVAL
            : supervisor.Store(knobs => set(knobs, number));

    private static string Text<T>(T number)
        where T : IFormattable => number.ToString(null, CultureInfo.InvariantCulture);
}
