namespace Samepage.Daemon.Api;

/// <summary>Names of trust domains.</summary>
public static class Domains
{
    /// <summary>Longest name in characters.</summary>
    public const int LengthMax = 64;

    /// <summary>Refuses what cannot be a name; null (the default domain) is fine.</summary>
    /// <exception cref="RequestException">It cannot.</exception>
    public static void Check(string? name)
    {
        if (name is null)
        {
            return;
        }

        if (name.Length is 0 or > LengthMax || !name.All(c => char.IsAsciiLetterOrDigit(c) || ":._-".Contains(c)))
        {
            throw new RequestException(
                ExitCode.Usage, $"a domain is 1 to {LengthMax} letters, digits, colons, dots, hyphens or underscores");
        }
    }
}
