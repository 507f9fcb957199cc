namespace Samepage.Daemon.AdminFiles;

/// <summary>
/// Where the engine's loop puts the latest snapshot for those who read files: they never wait for the loop, which may
/// be in the middle of a long un-merge. The loop puts a new one before it answers a change, after wake-ups (at most one
/// in a millisecond) and before it rests; nothing is made while nobody reads.
/// </summary>
internal sealed class SnapshotBoard
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(1);

    private volatile AdminSnapshot? latest;
    private volatile bool wanted;
    private long made;
    private bool stale = true;

    /// <summary>The latest one.</summary>
    /// <exception cref="InvalidOperationException">None was made: nobody called <see cref="Want"/>.</exception>
    internal AdminSnapshot Latest => latest ?? throw new InvalidOperationException("no snapshot was made yet");

    /// <summary>From now on there are readers. The next command of the loop puts up a snapshot.</summary>
    internal void Want() => wanted = true;

    /// <summary>Something has changed, and whoever changed it is about to be told.</summary>
    internal void Put(Engine engine)
    {
        stale = false;
        if (wanted)
        {
            made = TimeProvider.System.GetTimestamp();
            latest = new AdminSnapshot(engine.Knobs, engine.Status());
        }
    }

    /// <summary>A wake-up is over.</summary>
    internal void PutSoon(Engine engine)
    {
        stale = true;
        if (wanted && TimeProvider.System.GetElapsedTime(made) >= Pause)
        {
            Put(engine);
        }
    }

    /// <summary>The loop is about to rest.</summary>
    internal void PutIfStale(Engine engine)
    {
        if (stale)
        {
            Put(engine);
        }
    }
}
