namespace Samepage.Cli;

/// <summary>What holds when nobody says otherwise.</summary>
internal static class Defaults
{
    /// <summary>The user's runtime directory where there is one, otherwise (and for root) /run: never a directory
    /// in which others could put a socket of theirs. Here and not in the daemon, because the short way of status must
    /// not load the daemon's assembly.</summary>
    internal static string Socket
    {
        get
        {
            var folder = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
            var own = !Environment.IsPrivilegedProcess && !string.IsNullOrEmpty(folder);
            return Path.Combine(own ? folder! : "/run", "samepage.sock");
        }
    }
}
