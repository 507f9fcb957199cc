using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json;
using Samepage.Daemon;
using Xunit;

namespace Samepage.Tests;

/// <summary>
/// What a daemon does by itself: notices ends and children, restores, un-merges at its end when told to.
/// </summary>
public sealed class DaemonLifeTests
{
    private static readonly PageRange Range = new(World.Base, World.Base + 16);

    [Fact]
    public async Task ATargetThatEndsIsForgottenAndReported()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        using var reader = new StreamReader(await daemon.Http.GetStreamAsync(
            "/v1/events", TestContext.Current.CancellationToken));
        Assert.Equal("listening", (await NextEvent(reader)).GetProperty("kind").GetString());
        first.Exit();
        JsonElement happened = await NextEvent(reader);
        Assert.Equal("exited", happened.GetProperty("kind").GetString());
        Assert.Equal(first.Pid, happened.GetProperty("pid").GetInt32());
        Assert.Equal([second.Pid], daemon.Targets.Attached);
        daemon.Cli("detach", $"{first.Pid}").Bad(5, "is not attached");
    }

    [Fact]
    public async Task KnobsAndRegistrationsSurviveARestart()
    {
        var keeper = new NoStateKeeper();
        var targets = new MemoryTargets();
        string socket = RunningDaemon.NewSocket();
        int self = Environment.ProcessId; // any real process: start times are compared
        using var other = Process.Start("sleep", "100");
        try
        {
            await using (RunningDaemon daemon = await RunningDaemon.Start(targets, socket, keeper))
            {
                daemon.Cli("set", "pages_to_scan=77", "sleep_millisecs=5", "run=0").Good();
                daemon.Cli("attach", $"{other.Id}", "--domain", "kept", "--range", "1000-3000").Good();
                daemon.Cli("attach", $"{self}").Bad(1, "is this daemon");
            }

            await using RunningDaemon next = await RunningDaemon.Start(new MemoryTargets(), socket, keeper);
            Assert.Equal([other.Id], next.Targets.Attached);
            JsonElement target = next.Cli("list", "--json").Good().Json.GetProperty("targets")[0];
            Assert.Equal("kept", target.GetProperty("domain").GetString());
            Assert.Equal("77\n", next.Cli("get", "pages_to_scan").Good().Out);
            Assert.Equal("none\n", next.Cli("get", "advisor_mode").Good().Out);
            Assert.Equal("0\n", next.Cli("get", "run").Good().Out);
        }
        finally
        {
            other.Kill();
        }
    }

    [Fact]
    public async Task ARegistrationOfAnotherProcessWithTheSameIdIsNotRestored()
    {
        var keeper = new NoStateKeeper();
        keeper.Save($$"""
            {"knobs":{},"targets":[{"pid":1,"start_time":1,"domain":"d","ranges":null,"follow_children":false}]}
            """);
        await using RunningDaemon daemon = await RunningDaemon.Start(keeper: keeper);
        Assert.Empty(daemon.Targets.Attached);
    }

    [Theory]
    [InlineData("")]
    [InlineData("nonsense")]
    [InlineData("{\"knobs\":{\"run\":\"9\",\"nix\":\"1\"},\"targets\":[]}")]
    public async Task StateThatMakesNoSenseDoesNotKeepTheDaemonFromStarting(string state)
    {
        var keeper = new NoStateKeeper();
        keeper.Save(state);
        await using RunningDaemon daemon = await RunningDaemon.Start(keeper: keeper);
        Assert.Equal("1\n", daemon.Cli("get", "run").Good().Out);
    }

    [Fact]
    public async Task WhatADeadDaemonLeftBehindIsTakenOverWithItsDomainAndRanges()
    {
        var targets = new MemoryTargets();
        MemoryProcess process = targets.Machine.Start(Range);
        targets.LeftBehind.Add(new LeftBehind(process.Pid, "left", [new PageRange(World.Base, World.Base + 4)]));
        targets.LeftBehind.Add(new LeftBehind(4_000_000, "gone", null));
        await using RunningDaemon daemon = await RunningDaemon.Start(targets);
        JsonElement target = daemon.Cli("list", "--json").Good().Json.GetProperty("targets")[0];
        Assert.Equal(process.Pid, target.GetProperty("pid").GetInt32());
        Assert.Equal("left", target.GetProperty("domain").GetString());
        Assert.Equal(4, target.GetProperty("registered_pages").GetInt64());
    }

    [Theory]
    [InlineData(false, 128)]
    [InlineData(true, 0)]
    public async Task ADaemonUnmergesAtItsEndOnlyWhenToldTo(bool unmerge, long storePages)
    {
        var targets = new MemoryTargets();
        MemoryProcess first = targets.Machine.Start(new PageRange(World.Base, World.Base + 64));
        MemoryProcess second = targets.Machine.Start(new PageRange(World.Base, World.Base + 64));
        first.Fill(new PageRange(World.Base, World.Base + 64), page => page);
        second.Fill(new PageRange(World.Base, World.Base + 64), page => page);
        await using (RunningDaemon daemon = await RunningDaemon.Start(targets, unmergeOnExit: unmerge))
        {
            daemon.Cli("attach", $"{first.Pid}", $"{second.Pid}").Good();
            daemon.Cli("merge").Good();
            Assert.Equal(128, first.StorePages + second.StorePages);
        }

        Assert.Equal(storePages, first.StorePages + second.StorePages);
        Assert.Equal(unmerge ? 0 : 2, targets.Attached.Count);
        Assert.Empty(targets.Machine.Check());
    }

    [Fact]
    public async Task ChildrenOfAFollowedProcessAreAttachedAsTheyAppearAndTheirChildrenToo()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using Process parent = Start("sh", "-c", "read go; sh -c 'sleep 100 & wait' & wait");
        try
        {
            var answer = await daemon.Http.PostAsJsonAsync(
                "/v1/targets", new { pid = parent.Id, follow_children = true }, TestContext.Current.CancellationToken);
            Assert.True(answer.IsSuccessStatusCode);
            Assert.Equal([parent.Id], daemon.Targets.Attached);
            await parent.StandardInput.WriteLineAsync("go");
            await Until(() => daemon.Targets.Attached.Count == 3);
        }
        finally
        {
            parent.Kill(entireProcessTree: true);
        }
    }

    [Fact]
    public async Task AnUnknownFailureOfTheMachineIsOneLineAndTheDaemonGoesOn()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        daemon.Targets.Refusal = new RequestException(ExitCode.NotPermitted, "process 1 belongs to somebody else");
        daemon.Cli("attach", "1").Bad(4, "process 1 belongs to somebody else");
        daemon.Cli("status").Good();
    }

    internal static async Task Until(Func<bool> condition)
    {
        for (int i = 0; !condition(); i++)
        {
            Assert.True(i < 1500, "it does not happen within 15 s");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    private static Process Start(string program, params string[] arguments) => Process.Start(
        new ProcessStartInfo(program, arguments) { RedirectStandardInput = true })!;

    private static async Task<JsonElement> NextEvent(StreamReader reader)
    {
        while (await reader.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
        {
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                return JsonDocument.Parse(line["data: ".Length..]).RootElement;
            }
        }

        throw new EndOfStreamException("the stream of events ended");
    }
}
