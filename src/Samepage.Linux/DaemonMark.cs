using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
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

    /// <summary>A number for a home (a daemon's socket), never 0.</summary>
    public static ulong NumberOf(string home) =>
        BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(home))) | 1;

    /// <summary>This process, at that home, has it from now on.</summary>
    public static void Write(ControlArea control, string home)
    {
        control.SetHeader(ControlLayout.DaemonHome, NumberOf(home));
        control.SetHeader(ControlLayout.DaemonPid, (ulong)Environment.ProcessId);
        control.SetHeader(ControlLayout.DaemonStartTicks, OwnStartTicks);
    }

    /// <summary>True for one that a daemon of this home has left behind. Others' are not ours to take over unasked: their keeper
    /// may be about to bring their daemon back.</summary>
    public static bool IsFrom(ControlArea control, string home) =>
        control.Header(ControlLayout.DaemonHome) == NumberOf(home);

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
