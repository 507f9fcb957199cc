using System.Globalization;

namespace Samepage.Linux.Keeper;

/// <summary>
/// Keeps the OOM killer away from the keeper: targets wait while it is gone, and killing it frees next to nothing. What it
/// starts gets the value back that it had itself.
/// </summary>
internal static class OutOfMemoryScore
{
    private const string Lowest = "-1000";
    private static string? s_before;

    internal static void Lower()
    {
        try
        {
            s_before = File.ReadAllText("/proc/self/oom_score_adj").Trim();
            File.WriteAllText("/proc/self/oom_score_adj", Lowest);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            KeeperLog.Write($"oom_score_adj stays {s_before}: {problem.Message}");
            s_before = null;
        }
    }

    internal static void Restore(int pid)
    {
        try
        {
            if (s_before is not null)
            {
                File.WriteAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/oom_score_adj"), s_before);
            }
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            KeeperLog.Write($"oom_score_adj of {pid} stays lowered: {problem.Message}");
        }
    }
}
