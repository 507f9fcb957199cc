using System.Text.Json;
using Samepage.Cli.Demo;
using Samepage.Cli.Verbs;
using Samepage.Daemon.Api;
using Samepage.Linux.Host;
using Xunit;

namespace Samepage.Tests;

/// <summary>Verbs against a whole daemon with targets in memory.</summary>
public sealed class VerbTests
{
    [Fact]
    public async Task AttachIsAllOrNone()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("detach", "--all").Good();
        daemon.Cli("attach", $"{first.Pid}", $"{second.Pid}", "4000000").Bad(5, "there is no process 4000000");
        Assert.Empty(daemon.Targets.Attached);
    }

    [Fact]
    public async Task AttachingTwiceIsRefused()
    {
        var (daemon, first, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("attach", $"{first.Pid}").Bad(1, "is attached already");
        Assert.Equal(2, daemon.Targets.Attached.Count);
    }

    [Fact]
    public async Task DomainsAndRangesReachTheEngine()
    {
        var (daemon, first, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("detach", "--all").Good();
        ulong start = World.Base * 4096;
        daemon.Cli(
            "attach", $"{first.Pid}", "--domain", "mine",
            "--range", $"{start + 0x4000:x}-{start + 0x6000:x}", "--range", $"0x{start:x}-0x{start + 0x1000:x}").Good();
        JsonElement target = daemon.Cli("list", "--json").Good().Json.GetProperty("targets")[0];
        Assert.Equal("mine", target.GetProperty("domain").GetString());
        Assert.Equal(2, target.GetProperty("regions").GetInt32());
        Assert.Equal(3, target.GetProperty("registered_pages").GetInt64());
    }

    [Fact]
    public async Task MergeUnmergeAndDetachGiveTheProcessesTheirPagesBack()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        Assert.Contains("320.0 KiB saved", daemon.Cli("merge").Good().Out, StringComparison.Ordinal);
        Assert.Equal(64, second.StorePages);
        daemon.Cli("unmerge", $"{second.Pid}").Good();
        Assert.Equal((64, 0), (first.StorePages, second.StorePages));
        daemon.Cli("detach", $"{first.Pid}").Good();
        Assert.Equal(0, first.StorePages);
        Assert.Equal([second.Pid], daemon.Targets.Attached);
        Assert.Empty(daemon.Targets.Machine.Check());
    }

    [Fact]
    public async Task SettingRunToTwoUnmergesBeforeItReturns()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("merge").Good();
        daemon.Cli("set", "run=2").Good();
        Assert.Equal(0, first.StorePages + second.StorePages);
        Assert.Equal("2\n", daemon.Cli("get", "run").Good().Out);
        daemon.Cli("merge").Bad(1, "set run=1 or run=0");
    }

    [Theory]
    [InlineData("nix=1", "there is no knob \"nix\"")]
    [InlineData("run=7", "run cannot be \"7\"")]
    [InlineData("pages_to_scan=-1", "pages_to_scan cannot be")]
    [InlineData("sleep_millisecs=99999999999", "sleep_millisecs cannot be")]
    [InlineData("advisor_mode=often", "none, scan-time or cpu")]
    public async Task ABadKnobIsOneLineAndChangesNothing(string setting, string saying)
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        string before = daemon.Cli("get", "--json").Good().Out;
        daemon.Cli("set", setting).Bad(2, saying);
        Assert.Equal(before, daemon.Cli("get", "--json").Good().Out);
        daemon.Cli("get", "nix").Bad(2, "there is no knob \"nix\"");
    }

    [Theory]
    [InlineData("merge")]
    [InlineData("unmerge")]
    [InlineData("detach")]
    public async Task AProcessThatIsNotAttachedIsExitCodeFive(string verb)
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        daemon.Cli(verb, "4711").Bad(5, "process 4711 is not attached");
    }

    [Fact]
    public async Task TablesForPeopleShowWhatTheDocumentsSay()
    {
        var (daemon, first, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("merge").Good();
        Assert.Contains("64 pages sharing, 16 zero pages", daemon.Cli("status").Good().Out, StringComparison.Ordinal);
        Assert.Contains($"{first.Pid}", daemon.Cli("list").Good().Out, StringComparison.Ordinal);
        Assert.Contains($"{first.Pid}", daemon.Cli("top").Good().Out, StringComparison.Ordinal);
        Assert.Contains("pages_to_scan", daemon.Cli("get").Good().Out, StringComparison.Ordinal);
        daemon.Cli("detach", "--all").Good();
        Assert.Equal("No process is attached.\n", daemon.Cli("list").Good().Out);
    }

    [Fact]
    public async Task TheShortWayOfStatusIsTakenOnlyForWhatItUnderstands()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        Assert.Null(LeanStatus.TryRun(["status", "--help"]));
        Assert.Null(LeanStatus.TryRun(["status", "--socket"]));
        Assert.Null(LeanStatus.TryRun(["status", "--socket", daemon.Socket + "nix"]));
        Assert.Null(LeanStatus.TryRun(["list"]));
        Assert.Null(LeanStatus.TryRun([]));
    }

    [Fact]
    public async Task TheShortWayOfMergeIsTakenOnlyForWhatItUnderstands()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        Assert.Null(LeanMerge.TryRun(["merge", "--socket", daemon.Socket]));
        Assert.Null(LeanMerge.TryRun(["merge", "--json", "--socket"]));
        Assert.Null(LeanMerge.TryRun(["merge", "--json", "--socket", daemon.Socket + "nix"]));
        Assert.Null(LeanMerge.TryRun(["merge", "--json", "--socket", daemon.Socket, "-4"]));
        Assert.Null(LeanMerge.TryRun(["merge", "--json", "--help", "--socket", daemon.Socket]));
        Assert.Null(LeanMerge.TryRun(["status", "--json"]));
        Assert.Null(LeanMerge.TryRun([]));
    }

    [Theory]
    [InlineData(FeatureState.Present, true, 0, "\"state\":\"ok\"", true)]
    [InlineData(FeatureState.Missing, true, 3, "\"state\":\"missing\"", false)]
    [InlineData(FeatureState.NotPermitted, true, 3, "\"state\":\"missing\"", false)]
    [InlineData(FeatureState.Missing, false, 0, "\"state\":\"warning\"", true)]
    public void DoctorSaysWhatIsMissingAndHowToGetIt(
        FeatureState state, bool required, int code, string saying, bool supported)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var terminal = new Samepage.Cli.Terminal(output, error, false, false);
        KernelFeature[] features = [new("thing", state, required, "found", "get it")];
        Assert.Equal(code, DoctorVerb.Report(terminal, features, json: true));
        JsonElement json = JsonDocument.Parse(output.ToString()).RootElement;
        Assert.Equal(supported, json.GetProperty("supported").GetBoolean());
        Assert.Contains(saying, output.ToString(), StringComparison.Ordinal);
        Assert.Equal(code == 0 ? "" : "samepage: this host lacks: thing\n", error.ToString());
        Assert.Equal(code, DoctorVerb.Report(terminal, features, json: false));
        Assert.Contains("get it", output.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void ADemoProcessFindsEachSingleWrongByte()
    {
        using var memory = new DemoMemory(256, seed: 7, worker: 1);
        Assert.Equal(-1, memory.FirstWrong());
        Assert.Equal(16, memory.Write());
        Assert.Equal(-1, memory.FirstWrong());
        foreach (long page in new long[] { 255, 200, 130, 64, 0 })
        {
            memory.Spoil(page);
            Assert.Equal(page, memory.FirstWrong());
            memory.Spoil(page);
        }
    }

    [Fact]
    public void ADemoProcessObeysLines()
    {
        using var memory = new DemoMemory(64, seed: 7, worker: 0);
        using var answers = new StringWriter();
        DemoWorkerVerb.Obey(memory, new StringReader("verify\nwrite\nverify\nnix\n"), answers);
        memory.Spoil(3);
        DemoWorkerVerb.Obey(memory, new StringReader("verify\n"), answers);
        Assert.Equal("ok\nok\nok\nok\nunknown command\nok\npage 3 is wrong\n", answers.ToString());
    }

    [Fact]
    public void DemoProcessesHaveHalfOfTheirPagesInCommonAndAQuarterZero()
    {
        using var first = new DemoMemory(256, seed: 7, worker: 0);
        using var second = new DemoMemory(256, seed: 7, worker: 1);
        Assert.Equal(64, first.Pages.Count(page => page.All(value => value == 0)));
        Assert.Equal(192, first.Pages.Zip(second.Pages).Count(pair => pair.First.SequenceEqual(pair.Second)));
    }

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(1023, "1023 B")]
    [InlineData(1536, "1.5 KiB")]
    [InlineData(-1536, "-1.5 KiB")]
    [InlineData(5L << 40, "5.0 TiB")]
    [InlineData(5000L << 40, "5000.0 TiB")]
    public void AmountsAreShort(long bytes, string text) => Assert.Equal(text, Amounts.Bytes(bytes));
}
