using System.Reflection;

namespace Samepage.Simulation;

/// <summary>What this program was built from.</summary>
public static class Build
{
    /// <summary>The commit, in short; "unknown" when it was not built from a checkout.</summary>
    public static string Commit { get; } = Read();

    private static string Read()
    {
        // The SDK writes "version+commit" when it builds a checkout.
        string version = typeof(Build).Assembly
            .GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "";
        int plus = version.IndexOf('+', StringComparison.Ordinal);
        return plus < 0 ? "unknown" : version[(plus + 1)..Math.Min(version.Length, plus + 13)];
    }
}
