using Xunit;

namespace Samepage.Tests;

public class KnobsTests
{
    public static TheoryData<string, string> Accepted => new()
    {
        { "run", "0" }, { "run", "1" }, { "run", "2" },
        { "pages_to_scan", "0" }, { "pages_to_scan", "4294967295" },
        { "sleep_millisecs", "0" }, { "sleep_millisecs", "4294967295" },
        { "sleep_millisecs", "0.001" }, { "sleep_millisecs", "12.345" },
        { "max_kernel_pages", "0" }, { "max_kernel_pages", "2000" }, { "max_kernel_pages", "18446744073709551615" },
        { "stable_node_chains_prune_millisecs", "0" }, { "stable_node_chains_prune_millisecs", "4294967295" },
        { "smart_scan", "0" }, { "smart_scan", "1" },
        { "advisor_min_pages_to_scan", "0" }, { "advisor_max_pages_to_scan", "18446744073709551615" },
        { "advisor_target_scan_time", "1" },
        { "max_page_sharing", "0" }, { "max_page_sharing", "2" }, { "max_page_sharing", "2147483647" },
        { "use_zero_pages", "0" }, { "use_zero_pages", "1" },
        { "advisor_mode", "none" }, { "advisor_mode", "scan-time" }, { "advisor_mode", "cpu" },
        { "advisor_max_cpu", "1" }, { "advisor_max_cpu", "100" },
    };

    public static TheoryData<string, string> Refused => new()
    {
        { "run", "3" }, { "run", "-1" }, { "run", "" }, { "run", "one" }, { "run", "1 1" }, { "run", "0x1" },
        { "pages_to_scan", "4294967296" }, { "pages_to_scan", "-1" }, { "pages_to_scan", "1e3" },
        { "sleep_millisecs", "20ms" }, { "sleep_millisecs", "4294967296" }, { "sleep_millisecs", "1.2345" },
        { "sleep_millisecs", "." }, { "sleep_millisecs", "1." }, { "sleep_millisecs", "1.-5" },
        { "advisor_target_scan_time", "0" }, { "smart_scan", "2" },
        { "max_kernel_pages", "1.5" }, { "max_kernel_pages", "99999999999999999999" },
        { "max_page_sharing", "1" }, { "max_page_sharing", "2147483648" },
        { "use_zero_pages", "2" }, { "use_zero_pages", "yes" },
        { "advisor_mode", "scan" }, { "advisor_mode", "CPU" },
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
        Assert.Equal(13, knobs.All.Count);
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

    [Fact]
    public void ChangingBetweenKsmsAdvisorsResetsPagesToScanAndChoosingTheSameAgainDoesNot()
    {
        var knobs = new Knobs { Advisor = AdvisorMode.None, PagesToScan = 77, AdvisorMinPagesToScan = 600 };

        knobs.Advisor = AdvisorMode.None;
        Assert.Equal(77u, knobs.PagesToScan);
        knobs.Advisor = AdvisorMode.ScanTime;
        Assert.Equal(600u, knobs.PagesToScan);
        knobs.Advisor = AdvisorMode.None;
        Assert.Equal(100u, knobs.PagesToScan);
    }

    [Fact]
    public void FlagsWithoutTheRunBitStopAndDoNotUnmerge()
    {
        var knobs = new Knobs { RunFlags = 7 };
        Assert.Equal((1, 7u), (knobs.Run, knobs.RunFlags));
        knobs.RunFlags = 2;
        Assert.Equal((0, 2u), (knobs.Run, knobs.RunFlags));
        knobs.Run = 2;
        Assert.Equal((2, 2u), (knobs.Run, knobs.RunFlags));
        knobs.Run = 0;
        Assert.Equal(0u, knobs.RunFlags);
    }

    [Fact]
    public void WhatWasReadFromAllKnobsCanBeRestoredInTheSameOrder()
    {
        var knobs = new Knobs { AdvisorMaxCpu = 4000, SleepMicroseconds = 1, Advisor = AdvisorMode.ScanTime };
        knobs.Advise(12345);
        var restored = new Knobs();

        foreach (KnobInfo knob in knobs.All)
        {
            Assert.True(restored.TryRestore(knob.Name, knobs.Get(knob.Name), out string error), error);
        }

        Assert.Equal(knobs.All.Select(knob => knobs.Get(knob.Name)), knobs.All.Select(knob => restored.Get(knob.Name)));
    }
}
