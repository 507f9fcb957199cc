using System.Globalization;
using System.Runtime.InteropServices;

namespace Samepage.Linux.Host;

/// <summary>One thing a host should have.</summary>
/// <param name="Name">What.</param>
/// <param name="Ok">It has it.</param>
/// <param name="Needed">Nothing works without it (otherwise: it works, but worse).</param>
/// <param name="Found">What was found.</param>
/// <param name="Hint">How to get it.</param>
internal sealed record HostCheck(string Name, bool Ok, bool Needed, string Found, string Hint);

/// <summary>Everything <c>samepage doctor</c> looks at. Nothing is changed by looking.</summary>
internal static class HostChecks
{
    private const int CAP_SYS_PTRACE = 19;
    private const int CAP_SYS_ADMIN = 21;
    private const long UsualMapCount = 65530;

    internal static IReadOnlyList<HostCheck> All() =>
    [
        Processor(),
        .. Capabilities(),
        PtraceScope(),
        MapCount(),
        Swap(),
        KernelSamepageMerging(),
    ];

    private static HostCheck Processor() => new(
        "x86-64 processor",
        RuntimeInformation.ProcessArchitecture == Architecture.X64,
        Needed: true,
        RuntimeInformation.ProcessArchitecture.ToString(),
        "run it on an x86-64 machine; others are not tested");

    private static IEnumerable<HostCheck> Capabilities()
    {
        var effective = Line("/proc/self/status", "CapEff:") is { } mask
            ? ulong.Parse(mask, NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            : 0;
        yield return Capability("CAP_SYS_PTRACE", CAP_SYS_PTRACE, effective, "to stop and change processes");
        yield return Capability("CAP_SYS_ADMIN", CAP_SYS_ADMIN, effective, "to mount the store and see its pages");
    }

    private static HostCheck Capability(string name, int bit, ulong effective, string why)
    {
        var has = ((effective >> bit) & 1) != 0;
        return new HostCheck(name, has, Needed: true, has ? "effective" : "not effective", $"be root ({why})");
    }

    // Yama's levels (Documentation/admin-guide/LSM/Yama.rst): only 3 refuses ptrace to everybody.
    private static HostCheck PtraceScope()
    {
        var scope = Text("/proc/sys/kernel/yama/ptrace_scope");
        return new HostCheck(
            "ptrace allowed (Yama)",
            scope != "3",
            Needed: true,
            scope is null ? "no Yama" : $"ptrace_scope {scope}",
            "boot with kernel.yama.ptrace_scope below 3; it cannot be lowered while the system runs");
    }

    private static HostCheck MapCount()
    {
        var text = Text("/proc/sys/vm/max_map_count");
        var count = long.TryParse(text, CultureInfo.InvariantCulture, out var parsed) ? parsed : 0;
        return new HostCheck(
            "vm.max_map_count",
            count >= UsualMapCount,
            Needed: false,
            text ?? "unknown",
            $"sysctl vm.max_map_count={UsualMapCount} or more: scattered pages need one memory area each");
    }

    private static HostCheck Swap()
    {
        var areas = (Text("/proc/swaps") ?? "").Split('\n').Length - 1;
        return new HostCheck(
            "swap",
            areas <= 0,
            Needed: false,
            areas <= 0 ? "none" : $"{areas} areas",
            "nothing: swapped pages are merged when they come back");
    }

    private static HostCheck KernelSamepageMerging()
    {
        var run = Text("/sys/kernel/mm/ksm/run");
        return new HostCheck(
            "kernel's own KSM off",
            run is null or "0" or "2",
            Needed: false,
            run is null ? "not in this kernel" : $"run {run}",
            "echo 2 > /sys/kernel/mm/ksm/run, if nobody uses it: both would scan the same pages");
    }

    private static string? Line(string path, string key) => Text(path)?.Split('\n')
        .FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal))?[key.Length..].Trim();

    private static string? Text(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
