using System.Diagnostics;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>The checkout this was built from.</summary>
internal static class Repository
{
    /// <summary>Its top directory.</summary>
    public static string Root { get; } = Find();

    /// <summary>The commit, with "+" when files differ from it.</summary>
    public static string Commit()
    {
        var changes = Git("status", "--porcelain", "--untracked-files=no", "--", "src", "bench/Samepage.Benchmarks");
        return Git("rev-parse", "--short=12", "HEAD") + (changes == "" ? "" : "+");
    }

    private static string Git(params string[] arguments)
    {
        var start = new ProcessStartInfo("git", ["-C", Root, .. arguments]) { RedirectStandardOutput = true };
        using var git = Process.Start(start);
        var output = git?.StandardOutput.ReadToEnd().Trim() ?? "";
        git?.WaitForExit();
        return output;
    }

    private static string Find()
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        for (; directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "Samepage.slnx")))
            {
                return directory.FullName;
            }
        }

        throw new IOException("the benchmarks must lie in the repository they were built from");
    }
}
