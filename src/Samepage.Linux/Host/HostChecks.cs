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
    private const int UsualMapCount = 65530;

    internal static IReadOnlyList<HostCheck> All()
    {
        KernelFeatures features = KernelFeatures.Probe();
        return
        [
            .. features.All.Select(feature => new HostCheck(
                feature.Name, feature.State == FeatureState.Present || feature is { IsRequired: false, Remedy: "" },
                feature.IsRequired, feature.Detail, feature.Remedy)),
            new HostCheck(
                "room for memory areas", features.MaxMapCount >= UsualMapCount, Needed: false,
                $"vm.max_map_count {features.MaxMapCount}",
                $"sysctl vm.max_map_count={UsualMapCount} or more: scattered pages need one memory area each"),
            new HostCheck(
                "kernel's own KSM off", !features.IsKsmdRunning, Needed: false,
                features.IsKsmdRunning ? "running" : "not running",
                "echo 2 > /sys/kernel/mm/ksm/run, if nobody uses it: both would scan the same pages"),
        ];
    }
}
