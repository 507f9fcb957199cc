using System.Globalization;

namespace Samepage;

/// <summary>One knob as people see it.</summary>
/// <param name="Name">KSM's name where KSM has it.</param>
/// <param name="Default">Value at start.</param>
/// <param name="Values">What may be written, in words.</param>
/// <param name="Meaning">What it does, in one line.</param>
public sealed record KnobInfo(string Name, string Default, string Values, string Meaning);

/// <summary>
/// The engine's settings. Values are checked when they are set and obeyed from the next wake-up on.
/// Not thread-safe: owned by the engine's loop.
/// </summary>
public sealed class Knobs
{
    private static readonly KnobInfo[] Infos =
    [
        new("run", "1", "0, 1 or 2", "0: stop, what is merged stays merged; 1: scan; 2: stop and un-merge everything"),
        new("pages_to_scan", "100", "0 to 4294967295", "page visits per wake-up; setting it sets advisor_mode to none"),
        new("sleep_millisecs", "20", "0 to 4294967295", "milliseconds between wake-ups"),
        new("max_kernel_pages", "0", "0 to 4294967295", "store pages that may exist in all domains; 0: no limit"),
        new("max_page_sharing", "256", "0, or 2 to 2147483647", "mappings one store page may have; 0: no limit"),
        new("use_zero_pages", "1", "0 or 1", "1: all-zero pages are taken away instead of merged"),
        new("advisor_mode", "cpu", "none or cpu", "none: obey pages_to_scan; cpu: obey advisor_max_cpu"),
        new("advisor_max_cpu", "70", "1 to 100", "percent of one CPU that background scanning may use"),
    ];

    /// <summary>
    /// 0 stopped, 1 scanning, 2 stopped and un-merged (the un-merging is <see cref="Engine.Unmerge"/>).
    /// </summary>
    public int Run { get; set; } = 1;

    /// <summary>Page visits per wake-up while <see cref="AdvisorCpu"/> is off.</summary>
    public uint PagesToScan { get; private set; } = 100;

    /// <summary>Milliseconds between wake-ups.</summary>
    public uint SleepMillisecs { get; private set; } = 20;

    /// <summary>Store pages that may exist over all domains; 0 = no limit. Reaching it only refuses new ones.</summary>
    public uint MaxKernelPages { get; private set; }

    /// <summary>
    /// Mappings one store page may have before another with the same content is made; 0 = no limit (in fact 65535,
    /// what a slot can count). KSM's default: it bounds how long the kernel walks all mappings of one page when it
    /// moves it, and costs less than half a percent of the saving.
    /// </summary>
    public int MaxPageSharing { get; private set; } = 256;

    /// <summary><see cref="MaxPageSharing"/> as a number of mappings a slot can count.</summary>
    internal int MappingsMax =>
        MaxPageSharing == 0 ? SlotTable.MappingsMax : Math.Min(MaxPageSharing, SlotTable.MappingsMax);

    /// <summary>All-zero pages are taken away (the kernel maps its own zero page) instead of merged.</summary>
    public bool UseZeroPages { get; private set; } = true;

    /// <summary>True: pace by <see cref="AdvisorMaxCpu"/>. False: by <see cref="PagesToScan"/>, exactly.</summary>
    public bool AdvisorCpu { get; private set; } = true;

    /// <summary>Percent of one CPU for background scanning, 1 to 100.</summary>
    public int AdvisorMaxCpu { get; private set; } = 70;

    /// <summary>All knobs, in the order people want to read them.</summary>
    public IReadOnlyList<KnobInfo> All { get; } = Infos;

    /// <summary>The value of a knob as it would be written.</summary>
    /// <exception cref="ArgumentException">There is no knob of that name.</exception>
    public string Get(string name) => name switch
    {
        "run" => Text(Run),
        "pages_to_scan" => Text(PagesToScan),
        "sleep_millisecs" => Text(SleepMillisecs),
        "max_kernel_pages" => Text(MaxKernelPages),
        "max_page_sharing" => Text(MaxPageSharing),
        "use_zero_pages" => UseZeroPages ? "1" : "0",
        "advisor_mode" => AdvisorCpu ? "cpu" : "none",
        "advisor_max_cpu" => Text(AdvisorMaxCpu),
        _ => throw new ArgumentException(UnknownKnob(name), nameof(name)),
    };

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

    private bool Apply(string name, string value)
    {
        if (name == "advisor_mode")
        {
            AdvisorCpu = value == "cpu" || (value != "none" && AdvisorCpu);
            return value is "cpu" or "none";
        }

        if (!uint.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out uint number))
        {
            return false;
        }

        switch (name)
        {
            case "run" when number <= 2:
                Run = (int)number;
                return true;
            case "pages_to_scan":
                PagesToScan = number;
                AdvisorCpu = false;
                return true;
            case "sleep_millisecs":
                SleepMillisecs = number;
                return true;
            case "max_kernel_pages":
                MaxKernelPages = number;
                return true;
            case "max_page_sharing" when number != 1 && number <= int.MaxValue:
                MaxPageSharing = (int)number;
                return true;
            case "use_zero_pages" when number <= 1:
                UseZeroPages = number == 1;
                return true;
            case "advisor_max_cpu" when number is >= 1 and <= 100:
                AdvisorMaxCpu = (int)number;
                return true;
            default:
                return false;
        }
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string UnknownKnob(string name) =>
        $"there is no knob \"{Printable(name)}\": the knobs are {string.Join(", ", Infos.Select(knob => knob.Name))}";

    // What came over a socket goes into one line of a log or terminal: no control characters, no novels.
    private static string Printable(string text) =>
        string.Concat(text.Take(40).Select(c => char.IsControl(c) ? '?' : c)) + (text.Length > 40 ? "..." : "");
}
