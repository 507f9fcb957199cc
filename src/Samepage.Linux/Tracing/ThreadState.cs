using System.Globalization;

namespace Samepage.Linux.Tracing;

/// <summary>The scheduler's state of one thread, from /proc/TID/stat.</summary>
internal static class ThreadState
{
    /// <summary>True for a thread in uninterruptible sleep (D), which no interrupt has woken; also when it is gone.</summary>
    public static bool IsUninterruptible(int tid)
    {
        try
        {
            string stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{tid}/stat"));

            // The name in parentheses may itself contain any character.
            int end = stat.LastIndexOf(')');
            return end < 0 || end + 2 >= stat.Length || stat[end + 2] is 'D' or 'Z' or 'X';
        }
        catch (IOException)
        {
            return true;
        }
    }
}
