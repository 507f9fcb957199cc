using Xunit;

namespace Samepage.Tests;

/// <summary>The library against a whole daemon with targets in memory.</summary>
public sealed class SamepageClientTests
{
    private const ulong Page = PageSize.Bytes;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Attach_merge_look_unmerge_and_detach()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        using var client = new SamepageClient(daemon.Socket);
        await client.DetachAsync(second.Pid, Cancel);
        Assert.Equal([first.Pid], (await client.GetTargetsAsync(Cancel)).Select(target => target.Pid));
        TargetDocument attached = await client.AttachAsync(new AttachBody { Pid = second.Pid }, Cancel);
        Assert.Equal((second.Pid, "d", 72L), (attached.Pid, attached.Domain, attached.RegisteredPages));

        var seen = new List<ProgressDocument>();
        MergeDocument merged = await client.MergeAsync(progress: new Collector(seen), cancel: Cancel);
        Assert.Equal((128L, 16L, true), (merged.PagesMerged, merged.ZeroPages, merged.Complete));
        Assert.All(seen, progress => Assert.Contains(progress.Phase, (string[])["scan", "merge"]));
        Assert.Equal(64, (await client.GetStatusAsync(Cancel)).PagesShared);
        Assert.Equal(64, (await client.GetTargetAsync(first.Pid, Cancel)).MergedPages);

        Assert.Equal(64, (await client.UnmergeAsync([first.Pid], cancel: Cancel)).PagesUnmerged);
        Assert.Equal(64, (await client.DetachAsync(second.Pid, Cancel)).PagesUnmerged);
    }

    [Fact]
    public async Task Knobs_are_read_and_set_under_their_names()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using var client = new SamepageClient(daemon.Socket);
        Assert.Equal("7", (await client.SetKnobAsync("pages_to_scan", "7", Cancel)).Value);
        Assert.Equal("7", (await client.GetKnobAsync("pages_to_scan", Cancel)).Value);
        Assert.Contains(await client.GetKnobsAsync(Cancel), knob => knob is { Name: "pages_to_scan", Value: "7" });
    }

    [Fact]
    public async Task Events_are_missed_no_more_once_listening_was_told()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using var client = new SamepageClient(daemon.Socket);
        await using IAsyncEnumerator<EventDocument> events = client.ListenAsync(Cancel).GetAsyncEnumerator(Cancel);
        Assert.True(await events.MoveNextAsync());
        Assert.Equal("listening", events.Current.Kind);
        await client.SetKnobAsync("run", "0", Cancel);
        Assert.True(await events.MoveNextAsync());
        Assert.Equal(("knob", "run is 0"), (events.Current.Kind, events.Current.Text));
    }

    [Fact]
    public async Task Every_refusal_is_an_exception_with_its_kind_and_the_daemons_line()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using var client = new SamepageClient(daemon.Socket);
        await Refused(SamepageError.NotFound, "process 4194304 is not attached", () => client.GetTargetAsync(4194304, Cancel));
        await Refused(SamepageError.NotFound, "there is no process 4194304",
            () => client.AttachAsync(new AttachBody { Pid = 4194304 }, Cancel));
        await Refused(SamepageError.Usage, "pages_to_scan", () => client.SetKnobAsync("pages_to_scan", "-1", Cancel));
        await Refused(SamepageError.Usage, "no_such_knob", () => client.GetKnobAsync("no_such_knob", Cancel));
        await Refused(SamepageError.Usage, "multiples of 4096", () => client.RegisterRangeAsync(1, 1, Page, null, Cancel));
        await Refused(SamepageError.Usage, "above its start", () => client.RegisterRangeAsync(1, Page, 0, null, Cancel));
        await Refused(SamepageError.NotFound, "is not attached", () => client.MergeAsync([4194304], cancel: Cancel));
        await Refused(SamepageError.Failed, "set run=1 or run=0", async () =>
        {
            await client.SetKnobAsync("run", "2", Cancel);
            return await client.MergeAsync(cancel: Cancel);
        });
    }

    [Fact]
    public async Task Without_a_daemon_the_exception_says_where_none_answers()
    {
        using var client = new SamepageClient(RunningDaemon.NewSocket());
        await Refused(SamepageError.NoDaemon, client.Socket, () => client.GetStatusAsync(Cancel));
    }

    [Fact]
    public async Task A_client_finds_the_next_daemon_at_the_same_socket()
    {
        string socket = RunningDaemon.NewSocket();
        using var client = new SamepageClient(socket);
        await using (await RunningDaemon.Start(socket: socket))
        {
            Assert.Equal(0, (await client.GetStatusAsync(Cancel)).Targets);
        }

        await Refused(SamepageError.NoDaemon, socket, () => client.GetStatusAsync(Cancel));
        await using RunningDaemon next = await RunningDaemon.Start(socket: socket);
        Assert.Equal(0, (await client.GetStatusAsync(Cancel)).Targets);
    }

    [Fact]
    public async Task Spans_of_a_process_come_and_go_one_by_one()
    {
        var targets = new MemoryTargets();
        var all = new PageRange(World.Base, World.Base + 64);
        MemoryProcess first = targets.Machine.Start(all), second = targets.Machine.Start(all);
        first.Fill(all, page => page);
        second.Fill(all, page => page);
        await using RunningDaemon daemon = await RunningDaemon.Start(targets);
        using var client = new SamepageClient(daemon.Socket);
        await client.SetKnobAsync("run", "0", Cancel);
        await client.AttachAsync(new AttachBody { Pid = second.Pid }, Cancel);

        Assert.Equal(16, (await Register(0, 16)).RegisteredPages);
        Assert.Equal(24, (await Register(32, 8)).RegisteredPages);
        Assert.Equal(28, (await Register(12, 8)).RegisteredPages); // overlaps the first
        Assert.Equal(64, (await client.RegisterRangeAsync(second.Pid, At(0), Page, null, Cancel)).RegisteredPages);
        await client.MergeAsync(cancel: Cancel);
        Assert.Equal(28, (await client.GetTargetAsync(first.Pid, Cancel)).MergedPages);

        Assert.Equal(4, (await Unregister(8, 4)).PagesUnmerged);
        Assert.Equal((24L, 24L), await Now());
        await Refused(SamepageError.NotFound, "no memory", () => Register(100, 1));
        Assert.Equal(0, (await Unregister(40, 4)).PagesUnmerged); // was not registered
        Assert.Equal((24L, 24L), await Now());
        Assert.Equal(24, (await Unregister(0, 64)).PagesUnmerged);
        Assert.Equal([second.Pid], targets.Attached);

        Task<TargetDocument> Register(uint page, uint count) =>
            client.RegisterRangeAsync(first.Pid, At(page), count * Page, null, Cancel);
        Task<UnmergeDocument> Unregister(uint page, uint count) =>
            client.UnregisterRangeAsync(first.Pid, At(page), count * Page, Cancel);
        async Task<(long Registered, long Merged)> Now()
        {
            TargetDocument target = await client.GetTargetAsync(first.Pid, Cancel);
            return (target.RegisteredPages, target.MergedPages);
        }
    }

    [Fact]
    public async Task More_spans_than_a_process_can_have_are_refused_and_change_nothing()
    {
        var targets = new MemoryTargets();
        MemoryProcess process = targets.Machine.Start(new PageRange(World.Base, World.Base + 300));
        await using RunningDaemon daemon = await RunningDaemon.Start(targets);
        using var client = new SamepageClient(daemon.Socket);
        for (uint i = 0; i < 128; i++)
        {
            await client.RegisterRangeAsync(process.Pid, At(2 * i), Page, null, Cancel);
        }

        await Refused(SamepageError.Failed, "has 128 ranges already",
            () => client.RegisterRangeAsync(process.Pid, At(256), Page, null, Cancel));
        // One that closes a gap makes one of two.
        Assert.Equal(129, (await client.RegisterRangeAsync(process.Pid, At(1), Page, null, Cancel)).RegisteredPages);
        Assert.Equal(130, (await client.RegisterRangeAsync(process.Pid, At(256), Page, null, Cancel)).RegisteredPages);
        await Refused(SamepageError.Usage, "is attached in domain d",
            () => client.RegisterRangeAsync(process.Pid, At(1), Page, "other", Cancel));
    }

    private static ulong At(uint page) => (World.Base + page) * Page;

    private static async Task Refused<T>(SamepageError error, string saying, Func<Task<T>> request)
    {
        SamepageException refused = await Assert.ThrowsAsync<SamepageException>(request);
        Assert.Equal(error, refused.Error);
        Assert.Contains(saying, refused.Message, StringComparison.Ordinal);
    }

    private sealed class Collector(List<ProgressDocument> seen) : IProgress<ProgressDocument>
    {
        public void Report(ProgressDocument value) => seen.Add(value);
    }
}
