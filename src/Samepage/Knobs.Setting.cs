using System.Globalization;

namespace Samepage;

// Setting knobs from text.
public sealed partial class Knobs
{
    private const ulong MicrosecondsPerMillisecond = 1000;

    /// <summary>Sets a knob from text. A refused value changes nothing.</summary>
    /// <param name="name">Name of the knob.</param>
    /// <param name="value">New value; surrounding white space (a newline from echo) is ignored.</param>
    /// <param name="error">One line that says what would be accepted; empty when it was set.</param>
    public bool TrySet(string name, string value, out string error)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(value);
        KnobInfo? info = Array.Find(Infos, knob => knob.Name == name);
        if (info is null)
        {
            error = UnknownKnob(name);
            return false;
        }

        if (!Apply(name, value.Trim()))
        {
            error = $"{name} cannot be \"{Printable(value.Trim())}\": give {info.Values}";
            return false;
        }

        error = "";
        return true;
    }

    /// <summary>Sets a knob to what <see cref="Get"/> gave, which may be more than <see cref="TrySet"/> lets through:
    /// KSM's own files accept any advisor_max_cpu.</summary>
    public bool TryRestore(string name, string value, out string error)
    {
        if (name == "advisor_max_cpu" && TryNumber(value, uint.MaxValue, out ulong percent))
        {
            AdvisorMaxCpu = (uint)percent;
            error = "";
            return true;
        }

        // Restoring an advisor must not reset the pages_to_scan that was restored before it.
        uint pages = PagesToScan;
        bool isSet = TrySet(name, value, out error);
        if (isSet && name == "advisor_mode")
        {
            Advise(pages);
        }

        return isSet;
    }

    private bool Apply(string name, string value) => name switch
    {
        "run" or "max_page_sharing" or "use_zero_pages" or "smart_scan" or "advisor_mode" => ApplyChoice(name, value),
        "sleep_millisecs" => ApplySleep(value),
        _ => ApplyNumber(name, value),
    };

    private bool ApplyChoice(string name, string value)
    {
        if (name == "advisor_mode")
        {
            AdvisorMode? mode = value switch
            {
                "none" => AdvisorMode.None,
                "scan-time" => AdvisorMode.ScanTime,
                "cpu" => AdvisorMode.Cpu,
                _ => null,
            };
            Advisor = mode ?? Advisor;
            return mode is not null;
        }

        if (!TryNumber(value, int.MaxValue, out ulong number))
        {
            return false;
        }

        switch (name)
        {
            case "run" when number <= 2:
                Run = (int)number;
                return true;
            case "max_page_sharing" when number != 1:
                MaxPageSharing = (int)number;
                return true;
            case "use_zero_pages" when number <= 1:
                UseZeroPages = number == 1;
                return true;
            case "smart_scan" when number <= 1:
                SmartScan = number == 1;
                return true;
            default:
                return false;
        }
    }

    private bool ApplyNumber(string name, string value)
    {
        bool is64 = name is "max_kernel_pages" or "advisor_min_pages_to_scan" or "advisor_max_pages_to_scan"
            or "advisor_target_scan_time";
        if (!TryNumber(value, is64 ? ulong.MaxValue : uint.MaxValue, out ulong number))
        {
            return false;
        }

        switch (name)
        {
            case "pages_to_scan":
                PagesToScan = (uint)number;
                _advisor = AdvisorMode.None;
                return true;
            case "stable_node_chains_prune_millisecs":
                StableNodeChainsPruneMillisecs = (uint)number;
                return true;
            case "max_kernel_pages":
                MaxKernelPages = number;
                return true;
            case "advisor_min_pages_to_scan":
                AdvisorMinPagesToScan = number;
                return true;
            case "advisor_max_pages_to_scan":
                AdvisorMaxPagesToScan = number;
                return true;
            case "advisor_target_scan_time" when number >= 1:
                AdvisorTargetScanTime = number;
                return true;
            case "advisor_max_cpu" when number is >= 1 and <= 100:
                AdvisorMaxCpu = (uint)number;
                return true;
            default:
                return false;
        }
    }

    // The first KSM counted microseconds: three decimals keep what was written there.
    private bool ApplySleep(string value)
    {
        int point = value.IndexOf('.', StringComparison.Ordinal);
        string whole = point < 0 ? value : value[..point];
        string decimals = point < 0 ? "0" : value[(point + 1)..];
        if (decimals.Length > 3 || !TryNumber(whole, uint.MaxValue, out ulong milliseconds)
            || !TryNumber(decimals.PadRight(3, '0'), 999, out ulong microseconds) || decimals.Length == 0)
        {
            return false;
        }

        SleepMicroseconds = (milliseconds * MicrosecondsPerMillisecond) + microseconds;
        return true;
    }

    private static bool TryNumber(string text, ulong max, out ulong number) =>
        ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= max;

    private static string UnknownKnob(string name) =>
        $"there is no knob \"{Printable(name)}\": the knobs are {string.Join(", ", Infos.Select(knob => knob.Name))}";

    // What came over a socket goes into one line of a log or terminal: no control characters, no novels.
    private static string Printable(string text) =>
        string.Concat(text.Take(40).Select(c => char.IsControl(c) ? '?' : c)) + (text.Length > 40 ? "..." : "");
}
