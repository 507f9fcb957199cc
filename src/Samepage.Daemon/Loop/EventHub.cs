using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Samepage.Daemon.Api;

namespace Samepage.Daemon.Loop;

/// <summary>Hands what happens to all who listen. A listener that does not keep up loses the oldest events.</summary>
public sealed class EventHub
{
    private const int WaitingMax = 256;
    private const int ListenersMax = 64;

    private readonly ConcurrentDictionary<Channel<EventDocument>, bool> listeners = new();

    /// <summary>Tells everybody; never waits.</summary>
    public void Publish(EventDocument happened)
    {
        foreach (var (listener, _) in listeners)
        {
            listener.Writer.TryWrite(happened);
        }
    }

    /// <summary>Everything from now on, until cancelled.</summary>
    /// <exception cref="RequestException">Too many listeners.</exception>
    public IAsyncEnumerable<EventDocument> Listen(CancellationToken cancel)
    {
        if (listeners.Count >= ListenersMax)
        {
            throw new RequestException(ExitCode.Failed, $"{ListenersMax} listeners are connected: close one first");
        }

        var listener = Channel.CreateBounded<EventDocument>(
            new BoundedChannelOptions(WaitingMax) { FullMode = BoundedChannelFullMode.DropOldest });
        listeners[listener] = true;
        return Read(listener, cancel);
    }

    private async IAsyncEnumerable<EventDocument> Read(
        Channel<EventDocument> listener, [EnumeratorCancellation] CancellationToken cancel)
    {
        try
        {
            // At once, so that a listener knows from when on it misses nothing.
            yield return new EventDocument
            {
                Kind = "listening", Text = "everything from now on", Time = DateTimeOffset.UtcNow,
            };
            while (await ReadyAsync(listener, cancel).ConfigureAwait(false))
            {
                while (listener.Reader.TryRead(out var happened))
                {
                    yield return happened;
                }
            }
        }
        finally
        {
            listeners.TryRemove(listener, out _);
        }
    }

    private static async Task<bool> ReadyAsync(Channel<EventDocument> listener, CancellationToken cancel)
    {
        try
        {
            return await listener.Reader.WaitToReadAsync(cancel).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return false; // the listener has gone, or the daemon ends: the stream just ends, too
        }
    }
}
