using System.Globalization;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>
/// The keeper goes first on the CPU and last in the OOM killer's list: application threads wait while it is not
/// running, it needs next to no CPU time, and killing it frees next to nothing. Whatever it starts gets back what it
/// had itself.
/// </summary>
internal static class KeeperPriority
{
    private const string LeastKillable = "-1000";
    private const int MostFavoured = -20;

    private static string? s_scoreBefore;
    private static int s_niceBefore;

    /// <summary>For the calling thread, and those it will start. Does without what is not permitted.</summary>
    internal static void Raise()
    {
        s_niceBefore = getpriority(PRIO_PROCESS, 0);
        Favour(0);
        try
        {
            s_scoreBefore = File.ReadAllText("/proc/self/oom_score_adj").Trim();
            File.WriteAllText("/proc/self/oom_score_adj", LeastKillable);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            s_scoreBefore = null;
            KeeperLog.Write("oom_score_adj cannot be lowered");
        }
    }

    /// <summary>For a keeper just started, so that its start-up does not have to queue; while it waits, everybody
    /// waits.</summary>
    internal static void Favour(int pid) => _ = setpriority(PRIO_PROCESS, pid, MostFavoured);

    /// <summary>For a daemon just started.</summary>
    internal static void Restore(int pid)
    {
        // Started by a client that favoured us already: there is no better guess than the default.
        _ = setpriority(PRIO_PROCESS, pid, s_niceBefore == MostFavoured ? 0 : s_niceBefore);
        try
        {
            if (s_scoreBefore is not null)
            {
                string path = string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/oom_score_adj");
                File.WriteAllText(path, s_scoreBefore);
            }
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            KeeperLog.Write($"oom_score_adj of {pid} stays lowered");
        }
    }
}
