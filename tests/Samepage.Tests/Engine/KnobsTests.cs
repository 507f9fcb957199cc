using Xunit;

namespace Samepage.Tests;

public class KnobsTests
{
    public static TheoryData<string, string> Accepted => new()
    {
        { "run", "0" }, { "run", "1" }, { "run", "2" },
        { "pages_to_scan", "0" }, { "pages_to_scan", "4294967295" },
        { "sleep_millisecs", "0" }, { "sleep_millisecs", "4294967295" },
        { "max_kernel_pages", "0" }, { "max_kernel_pages", "2000" },
        { "max_page_sharing", "0" }, { "max_page_sharing", "2" }, { "max_page_sharing", "2147483647" },
        { "use_zero_pages", "0" }, { "use_zero_pages", "1" },
        { "advisor_mode", "none" }, { "advisor_mode", "cpu" },
        { "advisor_max_cpu", "1" }, { "advisor_max_cpu", "100" },
    };

    public static TheoryData<string, string> Refused => new()
    {
        { "run", "3" }, { "run", "-1" }, { "run", "" }, { "run", "one" }, { "run", "1 1" }, { "run", "0x1" },
        { "pages_to_scan", "4294967296" }, { "pages_to_scan", "-1" }, { "pages_to_scan", "1e3" },
        { "sleep_millisecs", "20ms" }, { "sleep_millisecs", "4294967296" },
        { "max_kernel_pages", "1.5" }, { "max_kernel_pages", "99999999999999999999" },
        { "max_page_sharing", "1" }, { "max_page_sharing", "2147483648" },
        { "use_zero_pages", "2" }, { "use_zero_pages", "yes" },
        { "advisor_mode", "scan-time" }, { "advisor_mode", "CPU" },
        { "advisor_max_cpu", "0" }, { "advisor_max_cpu", "101" },
        { "pages_to_scan", "\u001b[31m\n\n1" },
        { "pages_to_scan", new string('9', 5000) },
    };

    [Theory]
    [MemberData(nameof(Accepted))]
    public void EveryValueInRangeIsSetAndReadBack(string name, string value)
    {
        var knobs = new Knobs();

        Assert.True(knobs.TrySet(name, value + "\n", out string error), error);

        Assert.Equal(value, knobs.Get(name));
        Assert.Equal("", error);
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public void EveryOtherValueIsRefusedInOneClearLineAndChangesNothing(string name, string value)
    {
        var knobs = new Knobs();
        string[] before = [.. knobs.All.Select(knob => knobs.Get(knob.Name))];

        Assert.False(knobs.TrySet(name, value, out string error));

        Assert.StartsWith(name + " cannot be \"", error, StringComparison.Ordinal);
        Assert.Contains(knobs.All.First(knob => knob.Name == name).Values, error, StringComparison.Ordinal);
        Assert.DoesNotContain(error, char.IsControl);
        Assert.InRange(error.Length, 1, 120);
        Assert.Equal(before, knobs.All.Select(knob => knobs.Get(knob.Name)));
    }

    [Fact]
    public void AnUnknownKnobIsRefusedAndTheKnownOnesAreNamed()
    {
        var knobs = new Knobs();

        Assert.False(knobs.TrySet("pages_to_scam", "1", out string error));

        Assert.StartsWith("there is no knob \"pages_to_scam\"", error, StringComparison.Ordinal);
        Assert.All(knobs.All, knob => Assert.Contains(knob.Name, error, StringComparison.Ordinal));
        Assert.Throws<ArgumentException>(() => knobs.Get("pages_to_scam"));
    }

    [Fact]
    public void TheDefaultsAreTheDocumentedOnes()
    {
        var knobs = new Knobs();

        Assert.All(knobs.All, knob => Assert.Equal(knob.Default, knobs.Get(knob.Name)));
        Assert.Equal(8, knobs.All.Count);
    }

    [Fact]
    public void SettingPagesToScanTurnsTheAdvisorOff()
    {
        var knobs = new Knobs();
        Assert.True(knobs.AdvisorCpu);

        Assert.True(knobs.TrySet("pages_to_scan", "300", out _));

        Assert.Equal("none", knobs.Get("advisor_mode"));
        Assert.True(knobs.TrySet("advisor_mode", "cpu", out _));
        Assert.True(knobs.AdvisorCpu);
    }
}
