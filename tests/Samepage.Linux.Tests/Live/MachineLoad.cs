using System.Globalization;

namespace Samepage.Linux.Tests.Live;

/// <summary>How busy the machine is: times that are promised of an idle one take as much longer.</summary>
internal static class MachineLoad
{
    /// <summary>Programs that want a CPU, per CPU, over the last minute; 1 at least.</summary>
    public static double Factor => Math.Max(
        1,
        double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture) / Environment.ProcessorCount);
}
