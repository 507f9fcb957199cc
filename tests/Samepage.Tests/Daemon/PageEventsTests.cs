using Samepage.Daemon.Loop;
using Xunit;

namespace Samepage.Tests;

/// <summary>The stream of a process's page events: numbers, gaps, ends; and the library that follows it.</summary>
public sealed class PageEventsTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_reader_that_lags_is_told_in_place_what_it_missed()
    {
        var notifiers = new MmuNotifiers();
        var events = new PageEvents(notifiers);
        using PageEvents.Listener listener = events.Subscribe();
        const int sent = PageEvents.Listener.WaitingMax + 1000;
        for (int i = 0; i < sent; i++)
        {
            MmuEvent kind = i % 2 == 0 ? MmuEvent.Shared : MmuEvent.Broken;
            notifiers.ChangePte(new PteChange(4096ul * (ulong)i, 8192, kind, i % 2 == 0 ? "d" : null));
        }

        await using IAsyncEnumerator<PageEventDocument> reader = listener.Read(Cancel).GetAsyncEnumerator(Cancel);
        Assert.Equal(("listening", 0L), await Next(reader));
        for (long i = 1; i <= PageEvents.Listener.WaitingMax; i++)
        {
            Assert.Equal((i % 2 == 1 ? "shared" : "broken", i), await Next(reader));
        }

        notifiers.InvalidatePage(4096);
        Assert.Equal(("gap", (long)sent), await Next(reader));
        Assert.Equal(
            new MissedDocument { Events = 1000, PagesShared = 1000, PagesUnshared = 1000, PagesInvalidated = 0 },
            reader.Current.Missed);
        Assert.Equal(("invalidate_start", sent + 1L), await Next(reader));
        Assert.Equal(("invalidate_end", sent + 2L), await Next(reader));
    }

    [Fact]
    public async Task A_gap_is_told_also_when_nothing_comes_after_it_and_when_the_end_does()
    {
        var notifiers = new MmuNotifiers();
        var events = new PageEvents(notifiers);
        using PageEvents.Listener waits = events.Subscribe();
        using PageEvents.Listener ends = events.Subscribe();
        for (int i = 0; i <= PageEvents.Listener.WaitingMax; i++)
        {
            notifiers.ChangePte(new PteChange(0, 4096, MmuEvent.Zeroed));
        }

        Assert.Equal("gap", (await Take(waits, PageEvents.Listener.WaitingMax + 2))[^1].Kind);
        notifiers.Release();
        PageEventDocument[] rest = await Take(ends, int.MaxValue);
        Assert.Equal(["gap", "released"], rest[^2..].Select(happened => happened.Kind));
        Assert.Equal(1, rest[^2].Missed!.Events);
    }

    [Fact]
    public void Nobody_is_registered_while_nobody_listens()
    {
        var notifiers = new MmuNotifiers();
        var events = new PageEvents(notifiers);
        Assert.Equal(0, notifiers.Count);
        using PageEvents.Listener first = events.Subscribe();
        using PageEvents.Listener second = events.Subscribe();
        Assert.Equal(1, notifiers.Count);
        events.Unsubscribe(first);
        events.Unsubscribe(first);
        Assert.Equal(1, notifiers.Count);
        events.Unsubscribe(second);
        Assert.Equal(0, notifiers.Count);
    }

    [Fact]
    public async Task The_library_drives_a_notifier_from_what_is_shared_already_to_the_end()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        using var client = new SamepageClient(daemon.Socket);
        await client.MergeAsync(cancel: Cancel);
        var map = new SharedPageMap();
        var reached = new Reached();
        Task following = client.FollowPagesAsync(first.Pid, map, reached, Cancel);
        await reached.Wait(0);
        Assert.Equal(64, map.Count);

        for (uint i = 0; i < 20; i++)
        {
            first.Write(World.Base + (3 * i), 1000 + i);
        }

        await client.MergeAsync(cancel: Cancel);
        await Same(client, first.Pid, map, reached);
        Assert.Equal(44, map.Count);
        await client.UnmergeAsync([first.Pid], cancel: Cancel);
        await Same(client, first.Pid, map, reached);
        Assert.Equal(0, map.Count);

        await client.DetachAsync(first.Pid, Cancel);
        await following;
        Assert.True(map.IsReleased);
        Assert.Equal(0, second.Notifiers.Count);
    }

    [Fact]
    public async Task A_notifier_whose_stream_has_a_gap_is_told_everything_anew()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        using var client = new SamepageClient(daemon.Socket);
        var map = new SharedPageMap();
        using var hold = new ManualResetEventSlim();
        var slow = new Slow(map, hold);
        var reached = new Reached();
        Task following = client.FollowPagesAsync(first.Pid, slow, reached, Cancel);
        await reached.Wait(0);
        // Every other page of its own: each merge is 32 events, each un-merge as many; the reader sleeps meanwhile.
        int rounds = 0;
        while (slow.Invalidated == 0)
        {
            Assert.True(rounds < 400, "the reader never lagged");
            for (uint i = 0; i < 64; i += 2)
            {
                first.Write(World.Base + i, 5000 + i);
                second.Write(World.Base + i, 7000 + i);
            }

            await client.MergeAsync(cancel: Cancel);
            await client.UnmergeAsync(cancel: Cancel);
            if (++rounds == 380)
            {
                hold.Set();
                await reached.Wait((await client.GetPagesAsync(first.Pid, Cancel)).Sequence);
            }
        }

        await client.MergeAsync(cancel: Cancel);
        await Same(client, first.Pid, map, reached);
        Assert.Equal(32, map.Count);
        await client.DetachAsync(first.Pid, Cancel);
        await following;
    }

    [Fact]
    public async Task Pages_of_a_process_that_is_not_attached_are_refused()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using var client = new SamepageClient(daemon.Socket);
        SamepageException none = await Assert.ThrowsAsync<SamepageException>(
            () => client.FollowPagesAsync(4194304, new SharedPageMap(), null, Cancel));
        Assert.Equal(SamepageError.NotFound, none.Error);
        none = await Assert.ThrowsAsync<SamepageException>(() => client.GetPagesAsync(4194304, Cancel));
        Assert.Equal(SamepageError.NotFound, none.Error);
    }

    private static async Task Same(SamepageClient client, int pid, SharedPageMap map, Reached reached)
    {
        PagesDocument pages = await client.GetPagesAsync(pid, Cancel);
        await reached.Wait(pages.Sequence);
        Assert.Equal(
            pages.Shared.Select(run => (run.Address, run.Length, run.StoreOffset)),
            map.Runs().Select(run => (run.Address, run.Length, run.StoreOffset)));
    }

    private static async Task<(string Kind, long Sequence)> Next(IAsyncEnumerator<PageEventDocument> reader)
    {
        Assert.True(await reader.MoveNextAsync());
        return (reader.Current.Kind, reader.Current.Sequence);
    }

    private static async Task<PageEventDocument[]> Take(PageEvents.Listener listener, int count)
    {
        var taken = new List<PageEventDocument>();
        await foreach (PageEventDocument happened in listener.Read(Cancel))
        {
            taken.Add(happened);
            if (taken.Count == count)
            {
                break;
            }
        }

        return [.. taken];
    }

    private sealed class Reached : IProgress<long>
    {
        private readonly Lock _lock = new();
        private readonly List<(long Sequence, TaskCompletionSource Done)> _waiting = [];
        private long _reached = -1;

        public void Report(long value)
        {
            lock (_lock)
            {
                _reached = value;
                foreach ((_, TaskCompletionSource done) in _waiting.Where(waiter => waiter.Sequence <= value))
                {
                    done.TrySetResult();
                }
            }
        }

        public Task Wait(long sequence)
        {
            lock (_lock)
            {
                var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                if (_reached >= sequence)
                {
                    done.SetResult();
                }

                _waiting.Add((sequence, done));
                return done.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
            }
        }
    }

    /// <summary>Does not come back from its first callback until it may.</summary>
    private sealed class Slow(SharedPageMap map, ManualResetEventSlim hold) : IMmuNotifier
    {
        public int Invalidated { get; private set; }

        public void ChangePte(in PteChange change)
        {
            hold.Wait(TimeSpan.FromSeconds(60));
            map.ChangePte(change);
        }

        public void InvalidatePage(ulong address) => map.InvalidatePage(address);

        public void InvalidateRangeStart(ulong start, ulong end)
        {
            Invalidated += start == 0 ? 1 : 0;
            map.InvalidateRangeStart(start, end);
        }

        public void Release() => map.Release();
    }
}
