using System.Globalization;

namespace Samepage.Linux.Tests.Support;

/// <summary>What a victim has seen so far: the line <c>ops=N lost=N wrong=N ...</c>.</summary>
internal sealed record VictimReport(IReadOnlyDictionary<string, long> Counts, IReadOnlyList<string> Details)
{
    /// <summary>Checked operations.</summary>
    public long Operations => Count("ops");

    /// <summary>Writes that were undone.</summary>
    public long Lost => Count("lost");

    /// <summary>Reads of bytes nobody wrote.</summary>
    public long Wrong => Count("wrong");

    /// <summary>EINTR nobody sent a signal for.</summary>
    public long Interrupted => Count("eintr");

    /// <summary>Blocking calls that came back for no reason.</summary>
    public long Spurious => Count("spurious");

    /// <summary>Time-outs that ended too soon.</summary>
    public long Early => Count("early");

    /// <summary>Time-outs that ended much too late; a busy machine does that too.</summary>
    public long Late => Count("late");

    /// <summary>All but <see cref="Late"/>.</summary>
    public long Errors => Lost + Wrong + Interrupted + Spurious + Early;

    public static VictimReport Parse(string line, IReadOnlyList<string> details) => new(ParseCounts(line), details);

    /// <summary>Counts of one line of details: <c>Detail("call", "poll")["eintr"]</c>.</summary>
    public IReadOnlyDictionary<string, long> Detail(string kind, string name) =>
        ParseCounts(Details.Last(line => line.StartsWith($"{kind} {name} ", StringComparison.Ordinal)));

    public override string ToString() =>
        string.Join('\n', [.. Details, string.Join(' ', Counts.Select(pair => $"{pair.Key}={pair.Value}"))]);

    private static Dictionary<string, long> ParseCounts(string line) => line
        .Split(' ', StringSplitOptions.RemoveEmptyEntries)
        .Select(part => part.Split('='))
        .Where(part => part.Length == 2)
        .ToDictionary(part => part[0], part => long.Parse(part[1], CultureInfo.InvariantCulture));

    private long Count(string name) => Counts.GetValueOrDefault(name);
}
