using System.Collections.Concurrent;
using Samepage.Daemon.AdminFiles;

namespace Samepage.Daemon.Loop;

/// <summary>
/// Role: the one thread that owns the engine, the machine and everything attached. States: created, running (after
/// <see cref="Start"/>), stopped. Requests from any thread are queued by <see cref="Ask"/> and answered between two
/// wake-ups of background scanning; those that only look are also answered in the middle of a long merge, where the
/// engine reports progress and its counters are consistent. It never blocks on a caller.
/// </summary>
public sealed class EngineLoop : IDisposable
{
    // Background scanning may sleep for hours (sleep_millisecs) or for ever (run=0): the end of a target and new
    // children are still noticed at this pace.
    private static readonly TimeSpan HousekeepingEvery = TimeSpan.FromMilliseconds(200);
    private const int QueueMax = 1024;

    private readonly ConcurrentQueue<Command> changing = new();
    private readonly ConcurrentQueue<Command> looking = new();
    private readonly SemaphoreSlim arrived = new(0);
    private readonly Func<Action, Supervisor> open;
    private readonly SnapshotBoard board;
    private readonly Thread thread;
    private readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool stopping;

    /// <summary>A loop that is not running yet.</summary>
    /// <param name="open">Makes the owner of all state, on the loop's thread; gets what answers lookers.</param>
    public EngineLoop(Func<Action, Supervisor> open)
        : this(open, new SnapshotBoard())
    {
    }

    internal EngineLoop(Func<Action, Supervisor> open, SnapshotBoard board)
    {
        this.open = open;
        this.board = board;
        thread = new Thread(Run) { Name = "samepage-engine", IsBackground = true };
    }

    private delegate void Command(Supervisor? supervisor);

    /// <summary>Ends when the loop has ended; faulted when it ended by an error of its own.</summary>
    public Task Ended => ended.Task;

    /// <summary>
    /// Starts the thread; completes when the machine is open and an earlier daemon's targets are adopted.
    /// </summary>
    public Task Start()
    {
        var opened = Enqueue(changing, _ => true, CancellationToken.None);
        thread.Start();
        return opened;
    }

    /// <summary>Runs a command that changes something on the loop's thread, between two wake-ups.</summary>
    /// <param name="command">The command.</param>
    /// <param name="cancel">Takes it out of the queue while it waits there.</param>
    public Task<T> Ask<T>(Func<Supervisor, T> command, CancellationToken cancel) => Enqueue(changing, command, cancel);

    /// <summary>Runs a command that only looks; also answered while a merge goes on.</summary>
    /// <param name="command">The command.</param>
    /// <param name="cancel">Takes it out of the queue while it waits there.</param>
    public Task<T> Look<T>(Func<Supervisor, T> command, CancellationToken cancel) => Enqueue(looking, command, cancel);

    /// <summary>Ends the loop after what is queued.</summary>
    /// <param name="unmerge">True: give every target its private pages back first.</param>
    public async Task Stop(bool unmerge)
    {
        if (Ended.IsCompleted)
        {
            return;
        }

        await Ask(
            supervisor =>
            {
                supervisor.Close(unmerge);
                stopping = true;
                return true;
            },
            CancellationToken.None).ConfigureAwait(false);
        await Ended.ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Dispose() => arrived.Dispose();

    private Task<T> Enqueue<T>(ConcurrentQueue<Command> queue, Func<Supervisor, T> command, CancellationToken cancel)
    {
        var result = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        if (queue.Count >= QueueMax || Ended.IsCompleted)
        {
            result.SetException(new RequestException(ExitCode.Failed, Ended.IsCompleted
                ? "the daemon is ending: ask again in a moment"
                : "too many requests wait already: ask again in a moment"));
            return result.Task;
        }

        var snapshots = queue == changing ? board : null;
        queue.Enqueue(supervisor => Answer(supervisor, command, result, snapshots, cancel));
        arrived.Release();
        return result.Task;
    }

    private static void Answer<T>(
        Supervisor? supervisor,
        Func<Supervisor, T> command,
        TaskCompletionSource<T> result,
        SnapshotBoard? snapshots,
        CancellationToken cancel)
    {
        if (cancel.IsCancellationRequested)
        {
            result.SetCanceled(cancel);
            return;
        }

        if (supervisor is null)
        {
            result.SetException(new RequestException(ExitCode.Failed, "the daemon has ended"));
            return;
        }

        try
        {
            var answer = command(supervisor);
            // Whoever reads after the answer sees the change.
            snapshots?.Put(supervisor.Engine);
            result.SetResult(answer);
        }
        catch (Exception error) when (error is not InvariantException)
        {
            snapshots?.Put(supervisor.Engine); // a refused request may have been refused half way
            result.SetException(error);
        }
        catch (InvariantException error)
        {
            result.SetException(new RequestException(ExitCode.Failed, $"a fault in samepage: {error.Message}", error));
            throw;
        }
    }

    private void Run()
    {
        Exception? failure = null;
        Supervisor? supervisor = null;
        try
        {
            supervisor = open(() => ShowProgress(supervisor!)); // called back only by work done later
            RunCommandsAndSteps(supervisor);
        }
#pragma warning disable CA1031 // The top of the thread: whatever it was ends the daemon with its message.
        catch (Exception error)
#pragma warning restore CA1031
        {
            failure = error;
        }

        try
        {
            supervisor?.Dispose();
        }
        finally
        {
            Finish(failure);
        }
    }

    private void ShowProgress(Supervisor supervisor)
    {
        Serve(looking, supervisor);
        board.PutSoon(supervisor.Engine);
    }

    private void Finish(Exception? failure)
    {
        if (failure is null)
        {
            ended.SetResult();
        }
        else
        {
            ended.SetException(failure);
        }

        Serve(changing, null);
        Serve(looking, null);
    }

    private void RunCommandsAndSteps(Supervisor supervisor)
    {
        var clock = TimeProvider.System;
        var stepDue = clock.GetTimestamp();
        var sleep = TimeSpan.Zero;
        var housekeeping = clock.GetTimestamp();
        while (!stopping)
        {
            Serve(looking, supervisor);
            if (Serve(changing, supervisor))
            {
                sleep = TimeSpan.Zero; // a knob or a target has changed: the engine decides anew
            }

            if (clock.GetElapsedTime(housekeeping) >= HousekeepingEvery)
            {
                supervisor.Housekeep();
                board.PutSoon(supervisor.Engine);
                housekeeping = clock.GetTimestamp();
            }

            if (!stopping && sleep != Timeout.InfiniteTimeSpan && clock.GetElapsedTime(stepDue) >= sleep)
            {
                sleep = supervisor.Step();
                board.PutSoon(supervisor.Engine);
                stepDue = clock.GetTimestamp();
            }

            Rest(supervisor, sleep, sleep == Timeout.InfiniteTimeSpan ? sleep : sleep - clock.GetElapsedTime(stepDue));
        }
    }

    private void Rest(Supervisor supervisor, TimeSpan sleep, TimeSpan untilStep)
    {
        if (stopping || (sleep != Timeout.InfiniteTimeSpan && untilStep <= TimeSpan.Zero))
        {
            return;
        }

        board.PutIfStale(supervisor.Engine);
        var nobodyToWatch = !supervisor.HasTargets;
        var rest = sleep == Timeout.InfiniteTimeSpan || untilStep > HousekeepingEvery ? HousekeepingEvery : untilStep;
        // Rounded up: the semaphore counts milliseconds, and no wait at all would be spinning.
        rest = TimeSpan.FromMilliseconds(Math.Ceiling(rest.TotalMilliseconds));
        arrived.Wait(nobodyToWatch && sleep == Timeout.InfiniteTimeSpan ? Timeout.InfiniteTimeSpan : rest);
        while (arrived.Wait(0))
        {
            // One waking up serves all that has arrived.
        }
    }

    private static bool Serve(ConcurrentQueue<Command> queue, Supervisor? supervisor)
    {
        var any = false;
        for (var i = 0; i < QueueMax && queue.TryDequeue(out var command); i++)
        {
            command(supervisor);
            any = true;
        }

        return any;
    }
}
