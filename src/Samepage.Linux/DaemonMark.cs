using Samepage.Linux.Host;
using Samepage.Linux.Program;

namespace Samepage.Linux;

/// <summary>
/// Which process has a target attached, kept in the target's control area. Two daemons of one host (other sockets) must
/// not take each other's targets: only those of a dead one are left behind.
/// </summary>
internal static class DaemonMark
{
    private static readonly ulong OwnStartTicks = ProcessFacts.StartTime(Environment.ProcessId) ?? 0;

    /// <summary>This process has it from now on.</summary>
    public static void Write(ControlArea control)
    {
        control.SetHeader(ControlLayout.DaemonPid, (ulong)Environment.ProcessId);
        control.SetHeader(ControlLayout.DaemonStartTicks, OwnStartTicks);
    }

    /// <summary>The living process, other than this one, that has it; null when there is none.</summary>
    public static int? LivingOther(ControlArea control)
    {
        var pid = (int)control.Header(ControlLayout.DaemonPid);
        return pid > 0 && pid != Environment.ProcessId
            && ProcessFacts.StartTime(pid) == control.Header(ControlLayout.DaemonStartTicks)
            ? pid
            : null;
    }
}
