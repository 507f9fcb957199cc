using System.Globalization;

namespace Samepage;

/// <summary>One knob as people see it.</summary>
/// <param name="Name">KSM's name where KSM has it.</param>
/// <param name="Default">Value at start.</param>
/// <param name="Values">What may be written, in words.</param>
/// <param name="Meaning">What it does, in one line.</param>
public sealed record KnobInfo(string Name, string Default, string Values, string Meaning);

/// <summary>Who decides how much a wake-up of background scanning does (the knob advisor_mode).</summary>
public enum AdvisorMode
{
    /// <summary>Nobody: pages_to_scan is obeyed exactly.</summary>
    None,

    /// <summary>KSM's: pages_to_scan is set after each pass so that a pass takes advisor_target_scan_time.</summary>
    ScanTime,

    /// <summary>Ours: as much as advisor_max_cpu allows.</summary>
    Cpu,
}

/// <summary>
/// The engine's settings. Values are checked when they are set and obeyed from the next wake-up on.
/// Not thread-safe: owned by the engine's loop.
/// </summary>
public sealed partial class Knobs
{
    private const string Any32 = "0 to 4294967295";
    private const string Any64 = "0 to 18446744073709551615";
    private const uint PagesToScanDefault = 100;

    private static readonly KnobInfo[] Infos =
    [
        new("run", "1", "0, 1 or 2", "0: stop, what is merged stays merged; 1: scan; 2: stop and un-merge everything"),
        new("pages_to_scan", "100", Any32, "page visits per wake-up; setting it sets advisor_mode to none"),
        new("sleep_millisecs", "20", Any32 + ", to three decimals", "milliseconds between wake-ups"),
        new("max_kernel_pages", "0", Any64, "store pages that may exist in all domains; 0: no limit"),
        new("max_page_sharing", "256", "0, or 2 to 2147483647", "mappings one store page may have; 0: no limit"),
        new("stable_node_chains_prune_millisecs", "2000", Any32, "milliseconds between looks for twins nobody maps"),
        new("use_zero_pages", "1", "0 or 1", "1: all-zero pages are taken away instead of merged"),
        new("smart_scan", "1", "0 or 1", "1: pages that fail to merge are tried more seldom; 0: in every pass"),
        new("advisor_min_pages_to_scan", "500", Any64, "least pages_to_scan that advisor_mode scan-time sets"),
        new("advisor_max_pages_to_scan", "30000", Any64, "most pages_to_scan that advisor_mode scan-time sets"),
        new("advisor_target_scan_time", "200", "1 to 18446744073709551615", "seconds of a pass under scan-time"),
        new(
            "advisor_mode",
            "cpu",
            "none, scan-time or cpu",
            "none: obey pages_to_scan; scan-time: let a pass take its target time; cpu: obey advisor_max_cpu"),
        new("advisor_max_cpu", "70", "1 to 100", "percent of one CPU that background scanning may use"),
    ];

    private uint _runFlags = 1;
    private AdvisorMode _advisor = AdvisorMode.Cpu;

    /// <summary>
    /// 0 stopped, 1 scanning, 2 stopped and un-merged (the un-merging is <see cref="Engine.UnmergeAll"/>).
    /// </summary>
    public int Run
    {
        get;
        set
        {
            field = value;
            _runFlags = (uint)value;
        }
    } = 1;

    /// <summary>What was last written to run, as flags of which bit 0 means scan: the first KSM's run file of April
    /// 2009, in which 2 did not un-merge. Setting it sets <see cref="Run"/> to bit 0.</summary>
    public uint RunFlags
    {
        get => _runFlags;
        set
        {
            Run = (int)(value & 1);
            _runFlags = value;
        }
    }

    /// <summary>Page visits per wake-up while no advisor decides. Setting it turns off our own advisor.</summary>
    public uint PagesToScan
    {
        get;
        set
        {
            field = value;
            _advisor = _advisor == AdvisorMode.Cpu ? AdvisorMode.None : _advisor;
        }
    } = PagesToScanDefault;

    /// <summary>Microseconds between wake-ups.</summary>
    public ulong SleepMicroseconds { get; set; } = 20_000;

    /// <summary>Store pages that may exist over all domains; 0 = no limit. Reaching it only refuses new ones.</summary>
    public ulong MaxKernelPages { get; set; }

    /// <summary>
    /// Mappings one store page may have before another with the same content is made; 0 = no limit (in fact 65535,
    /// what a slot can count). KSM's default: it bounds how long the kernel walks all mappings of one page when it
    /// moves it, and costs less than half a percent of the saving.
    /// </summary>
    public int MaxPageSharing { get; set; } = 256;

    /// <summary><see cref="MaxPageSharing"/> as a number of mappings a slot can count.</summary>
    internal int MappingsMax =>
        MaxPageSharing == 0 ? SlotTable.MappingsMax : Math.Min(MaxPageSharing, SlotTable.MappingsMax);

    /// <summary>Milliseconds between looks for store pages that nobody maps any more although, or because, others with
    /// the same content exist.</summary>
    public uint StableNodeChainsPruneMillisecs { get; set; } = 2000;

    /// <summary>All-zero pages are taken away (the kernel maps its own zero page) instead of merged.</summary>
    public bool UseZeroPages { get; set; } = true;

    /// <summary>Pages that could not be merged are tried more and more seldom. False: in every pass.</summary>
    public bool SmartScan { get; set; } = true;

    /// <summary>Who paces background scanning. Changing it resets pages_to_scan, as KSM does.</summary>
    public AdvisorMode Advisor
    {
        get => _advisor;
        set
        {
            if (_advisor == value)
            {
                return;
            }

            bool ours = _advisor == AdvisorMode.Cpu || value == AdvisorMode.Cpu;
            _advisor = value;
            if (value == AdvisorMode.ScanTime)
            {
                Advise(AdvisorMinPagesToScan);
                AdvisorChanges++;
            }
            else if (!ours)
            {
                Advise(PagesToScanDefault);
            }
        }
    }

    /// <summary>True: pace by <see cref="AdvisorMaxCpu"/>.</summary>
    public bool AdvisorCpu => _advisor == AdvisorMode.Cpu;

    /// <summary>Percent of one CPU for background scanning; what is not from 1 to 100 counts as the nearest of them.
    /// </summary>
    public uint AdvisorMaxCpu { get; set; } = 70;

    /// <summary><see cref="AdvisorMaxCpu"/> between 1 and 100.</summary>
    internal double CpuPercentMax => Math.Clamp(AdvisorMaxCpu, 1, 100);

    /// <summary>Least pages_to_scan that <see cref="AdvisorMode.ScanTime"/> sets.</summary>
    public ulong AdvisorMinPagesToScan { get; set; } = 500;

    /// <summary>Most pages_to_scan that <see cref="AdvisorMode.ScanTime"/> sets.</summary>
    public ulong AdvisorMaxPagesToScan { get; set; } = 30_000;

    /// <summary>Seconds a pass is to take under <see cref="AdvisorMode.ScanTime"/>; at least 1.</summary>
    public ulong AdvisorTargetScanTime { get; set; } = 200;

    /// <summary>How often scan-time was chosen: its memory of passes starts anew each time.</summary>
    internal int AdvisorChanges { get; private set; }

    /// <summary>An advisor's pages_to_scan.</summary>
    internal void Advise(ulong pages)
    {
        AdvisorMode chosen = _advisor;
        PagesToScan = (uint)Math.Min(pages, uint.MaxValue);
        _advisor = chosen;
    }

    /// <summary>All knobs, in the order people want to read them.</summary>
    public IReadOnlyList<KnobInfo> All { get; } = Infos;

    /// <summary>The value of a knob as it would be written.</summary>
    /// <exception cref="ArgumentException">There is no knob of that name.</exception>
    public string Get(string name) => name switch
    {
        "run" => Text(Run),
        "pages_to_scan" => Text(PagesToScan),
        "sleep_millisecs" => (SleepMicroseconds / 1000m).ToString("0.###", CultureInfo.InvariantCulture),
        "max_kernel_pages" => Text(MaxKernelPages),
        "max_page_sharing" => Text(MaxPageSharing),
        "stable_node_chains_prune_millisecs" => Text(StableNodeChainsPruneMillisecs),
        "use_zero_pages" => UseZeroPages ? "1" : "0",
        "smart_scan" => SmartScan ? "1" : "0",
        "advisor_mode" => NameOf(Advisor),
        "advisor_max_cpu" => Text(AdvisorMaxCpu),
        "advisor_min_pages_to_scan" => Text(AdvisorMinPagesToScan),
        "advisor_max_pages_to_scan" => Text(AdvisorMaxPagesToScan),
        "advisor_target_scan_time" => Text(AdvisorTargetScanTime),
        _ => throw new ArgumentException(UnknownKnob(name), nameof(name)),
    };

    private static string NameOf(AdvisorMode mode) => mode switch
    {
        AdvisorMode.None => "none",
        AdvisorMode.ScanTime => "scan-time",
        _ => "cpu",
    };

    private static string Text<T>(T value)
        where T : IFormattable => value.ToString(null, CultureInfo.InvariantCulture);
}
