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
    private const string ScorePath = "/proc/self/oom_score_adj";
    private const int MostFavoured = -20;

    private static string s_scoreBefore = "";
    private static int s_niceBefore;

    /// <summary>For the calling thread, and those it will start. Does without what is not permitted.</summary>
    internal static void Raise()
    {
        int nice = getpriority(PRIO_PROCESS, 0);
        // Started by a client that favoured us already: there is no better guess than the default.
        s_niceBefore = nice == MostFavoured ? 0 : nice;
        s_scoreBefore = KeeperFiles.ReadShort(ScorePath).Trim();
        Favour(0);
        if (!TrySetScore(LeastKillable))
        {
            s_scoreBefore = "";
            KeeperLog.Write("oom_score_adj cannot be lowered");
        }
    }

    /// <summary>For a keeper just started, so that its start-up does not have to queue; while it waits, everybody
    /// waits.</summary>
    internal static void Favour(int pid) => _ = setpriority(PRIO_PROCESS, pid, MostFavoured);

    /// <summary>Runs <paramref name="start"/>, which starts a process, with what we had before: children inherit
    /// it.</summary>
    internal static int WithoutPrivileges(Func<int> start)
    {
        bool scored = s_scoreBefore.Length > 0 && TrySetScore(s_scoreBefore);
        _ = setpriority(PRIO_PROCESS, 0, s_niceBefore);
        int pid = start();
        Favour(0);
        _ = scored && TrySetScore(LeastKillable);
        return pid;
    }

    private static bool TrySetScore(string score)
    {
        try
        {
            File.WriteAllText(ScorePath, score);
            return true;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
