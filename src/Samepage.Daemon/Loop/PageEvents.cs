using System.Runtime.CompilerServices;

namespace Samepage.Daemon.Loop;

/// <summary>
/// Publishes what happens to the pages of one process. Registered with the process's notifiers only while somebody
/// listens. Told on the loop's thread, while the process stands still: it only numbers events and puts them into the
/// listeners' queues. Listeners read from other threads.
/// </summary>
internal sealed class PageEvents : IMmuNotifier
{
    internal const int ListenersMax = 64;
    private readonly List<Listener> listeners = [];
    private readonly MmuNotifiers notifiers;

    internal PageEvents(MmuNotifiers notifiers) => this.notifiers = notifiers;

    /// <summary>Number of the last event.</summary>
    internal long Sequence { get; private set; }

    internal Listener Subscribe()
    {
        if (listeners.Count >= ListenersMax)
        {
            throw new RequestException(ExitCode.Failed, $"{ListenersMax} listeners are connected: close one first");
        }

        var listener = new Listener(Sequence);
        listeners.Add(listener);
        if (listeners.Count == 1)
        {
            notifiers.Register(this);
        }

        return listener;
    }

    internal void Unsubscribe(Listener listener)
    {
        if (listeners.Remove(listener) && listeners.Count == 0)
        {
            notifiers.Unregister(this);
        }
    }

    public void ChangePte(in PteChange change) => Publish(new PageEventDocument
    {
        Sequence = ++Sequence,
        Kind = change.Kind switch
        {
            MmuEvent.Shared => "shared",
            MmuEvent.Zeroed => "zeroed",
            MmuEvent.Broken => "broken",
            MmuEvent.Unshared => "unshared",
            _ => "write_protected",
        },
        Address = change.Address,
        Length = change.Length,
        Store = change.Store,
        StoreOffset = change.Store is null ? null : change.StoreOffset,
    });

    public void InvalidatePage(ulong address)
    {
        InvalidateRangeStart(address, address + PageSize.Bytes);
        InvalidateRangeEnd(address, address + PageSize.Bytes);
    }

    public void InvalidateRangeStart(ulong start, ulong end) => Publish("invalidate_start", start, end);

    public void InvalidateRangeEnd(ulong start, ulong end) => Publish("invalidate_end", start, end);

    public void Release()
    {
        if (listeners.Count > 0)
        {
            Publish("released", 0, 0);
            listeners.ForEach(listener => listener.End());
            listeners.Clear();
        }
    }

    private void Publish(string kind, ulong start, ulong end) => Publish(new PageEventDocument
    {
        Sequence = ++Sequence, Kind = kind, Address = start, Length = end - start,
    });

    private void Publish(PageEventDocument happened)
    {
        foreach (var listener in listeners)
        {
            listener.Add(happened);
        }
    }

    /// <summary>
    /// One reader's queue. It never holds anybody up: what does not fit is counted, and the reader gets the counts in
    /// the place of what is missing.
    /// </summary>
    internal sealed class Listener(long sequence) : IDisposable
    {
        internal const int WaitingMax = 4096;
        private readonly Queue<PageEventDocument> waiting = new();
        private readonly SemaphoreSlim arrived = new(0);
        private readonly Lock gate = new();
        private MissedDocument? missed;
        private long lastMissed;
        private bool ended;

        internal void Add(PageEventDocument happened)
        {
            lock (gate)
            {
                if (waiting.Count >= WaitingMax && happened.Kind != "released")
                {
                    Miss(happened);
                    return;
                }

                PutGap();
                waiting.Enqueue(happened);
            }

            arrived.Release();
        }

        internal void End()
        {
            lock (gate)
            {
                ended = true;
            }

            arrived.Release();
        }

        /// <summary>Everything from when it was made, until the process is let go or somebody cancels.</summary>
        internal async IAsyncEnumerable<PageEventDocument> Read([EnumeratorCancellation] CancellationToken cancel)
        {
            yield return new PageEventDocument { Sequence = sequence, Kind = "listening" };
            while (true)
            {
                while (TryTake(out var happened, out var over))
                {
                    if (happened is not null)
                    {
                        yield return happened;
                    }

                    if (over)
                    {
                        yield break;
                    }
                }

                if (!await Arrives(cancel).ConfigureAwait(false))
                {
                    yield break;
                }
            }
        }

        public void Dispose() => arrived.Dispose();

        private bool TryTake(out PageEventDocument? happened, out bool over)
        {
            lock (gate)
            {
                if (waiting.Count == 0)
                {
                    PutGap();
                }

                var taken = waiting.TryDequeue(out happened);
                over = ended && waiting.Count == 0;
                return taken || over;
            }
        }

        private async Task<bool> Arrives(CancellationToken cancel)
        {
            try
            {
                await arrived.WaitAsync(cancel).ConfigureAwait(false);
                return true;
            }
            catch (OperationCanceledException)
            {
                return false;
            }
        }

        private void Miss(PageEventDocument happened)
        {
            var pages = (long)(happened.Length >> PageSize.Shift);
            var before = missed
                ?? new MissedDocument { Events = 0, PagesShared = 0, PagesUnshared = 0, PagesInvalidated = 0 };
            missed = new MissedDocument
            {
                Events = before.Events + 1,
                PagesShared = before.PagesShared + (happened.Kind is "shared" or "zeroed" ? pages : 0),
                PagesUnshared = before.PagesUnshared + (happened.Kind is "broken" or "unshared" ? pages : 0),
                PagesInvalidated = before.PagesInvalidated + (happened.Kind is "invalidate_start" ? pages : 0),
            };
            lastMissed = happened.Sequence;
        }

        private void PutGap()
        {
            if (missed is not null)
            {
                waiting.Enqueue(new PageEventDocument { Sequence = lastMissed, Kind = "gap", Missed = missed });
                missed = null;
            }
        }
    }
}
