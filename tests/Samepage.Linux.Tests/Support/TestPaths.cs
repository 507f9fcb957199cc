namespace Samepage.Linux.Tests.Support;

/// <summary>Where things are, found from the test executable upwards.</summary>
internal static class TestPaths
{
    /// <summary>The repository: the directory with Samepage.slnx.</summary>
    public static string Repository { get; } = FindRepository();

    public static string Victims => Path.Combine(Repository, "tests", "Samepage.Linux.Tests", "Victims");

    public static string GuestScripts => Path.Combine(Repository, "examples", "guests");

    /// <summary>The C# victim, built before the tests as a dependency of theirs.</summary>
    public static string VictimAssembly => Path.Combine(
        Repository, "tests", "Samepage.Victim", "bin", Configuration, "net10.0", "linux-x64", "samepage-victim.dll");

    public static string Configuration =>
        AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release";

    /// <summary>Path of a program in PATH, or null.</summary>
    public static string? Which(string program) => (Environment.GetEnvironmentVariable("PATH") ?? string.Empty)
        .Split(':', StringSplitOptions.RemoveEmptyEntries)
        .Select(directory => Path.Combine(directory, program))
        .FirstOrDefault(File.Exists);

    private static string FindRepository()
    {
        for (string? path = AppContext.BaseDirectory; path is not null; path = Path.GetDirectoryName(path))
        {
            if (File.Exists(Path.Combine(path, "Samepage.slnx")))
            {
                return path;
            }
        }

        throw new InvalidOperationException($"no Samepage.slnx above {AppContext.BaseDirectory}");
    }
}
