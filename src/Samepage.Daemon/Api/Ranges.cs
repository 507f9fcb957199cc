using System.Globalization;

namespace Samepage.Daemon.Api;

/// <summary>
/// Spans of addresses as people write them: two hexadecimal numbers with a hyphen, as in /proc/PID/maps.
/// </summary>
public static class Ranges
{
    /// <summary>Most spans one registration may name.</summary>
    public const int CountMax = 128; // what fits into the record kept in a target for the next daemon

    private const ulong AddressMax = 1UL << 47;

    /// <summary>One span.</summary>
    /// <exception cref="RequestException">It is not one.</exception>
    public static PageRange Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var hyphen = text.IndexOf('-', StringComparison.Ordinal);
        if (hyphen < 0 || !TryAddress(text[..hyphen], out var start) || !TryAddress(text[(hyphen + 1)..], out var end))
        {
            throw Bad(text, "write it as START-END in hexadecimal, as in /proc/PID/maps");
        }

        if (end <= start)
        {
            throw Bad(text, "its end must be above its start");
        }

        if (((start | end) & (PageSize.Bytes - 1)) != 0)
        {
            throw Bad(text, $"both ends must be multiples of {PageSize.Bytes} (0x{PageSize.Bytes:x})");
        }

        return end <= AddressMax
            ? PageRange.FromAddresses(start, end)
            : throw Bad(text, $"user addresses end at 0x{AddressMax:x}");
    }

    /// <summary>Several spans, sorted, touching and overlapping ones joined; null stays null.</summary>
    /// <exception cref="RequestException">One of them is not one.</exception>
    public static IReadOnlyList<PageRange>? Parse(IReadOnlyList<string>? texts)
    {
        if (texts is null || texts.Count == 0)
        {
            return null;
        }

        if (texts.Count > CountMax)
        {
            throw new RequestException(ExitCode.Usage, $"{texts.Count} ranges are too many: give at most {CountMax}");
        }

        var joined = new List<PageRange>();
        foreach (var range in texts.Select(Parse).OrderBy(range => range.Start))
        {
            if (joined.Count > 0 && range.Start <= joined[^1].End)
            {
                joined[^1] = new PageRange(joined[^1].Start, Math.Max(joined[^1].End, range.End));
            }
            else
            {
                joined.Add(range);
            }
        }

        return joined;
    }

    private static bool TryAddress(string text, out ulong address)
    {
        var digits = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text[2..] : text;
        return ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out address);
    }

    private static RequestException Bad(string text, string hint)
    {
        var shown = string.Concat(text.Take(60).Select(c => char.IsControl(c) ? '?' : c));
        return new RequestException(ExitCode.Usage, $"\"{shown}\" is not a range: {hint}");
    }
}
