using System.Diagnostics;
using System.Globalization;

namespace Samepage.Examples;

/// <summary>What a snapshot consists of, in pages of 4096 bytes.</summary>
internal sealed record SnapshotCounts(long Private, long Zero, long Shared, long SharedOnce, long FileBytes)
{
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"private={Private} zero={Zero} shared={Shared} shared_once={SharedOnce} file_bytes={FileBytes}");
}

/// <summary>
/// Takes a snapshot of several attached processes at one moment. What is shared is known before they are stopped, from
/// their page events; so the time they stand still goes into writing, and a page that a hundred of them share is read
/// and written once.
/// </summary>
internal static class Taker
{
    internal static async Task<SnapshotCounts> Take(Options options)
    {
        using var client = new SamepageClient(options.Socket);
        using var done = new CancellationTokenSource();
        var followers = options.Pids.Select(pid => new Follower(client, pid, done.Token)).ToList();
        await Task.WhenAll(followers.Select(follower => follower.Begun));
        foreach (int pid in options.Pids)
        {
            Signal("STOP", pid);
        }

        try
        {
            // Copy-on-write is the kernel's own affair: which pages were written is known after the next pass. The
            // processes stand still, so after this one nothing can change any more.
            await client.MergeAsync(options.Pids);
            using var file = new SnapshotFile(options.File);
            foreach (Follower follower in followers)
            {
                PagesDocument pages = await client.GetPagesAsync(follower.Pid);
                await follower.Reaches(pages.Sequence);
                Write(file, follower);
            }

            return file.Finish();
        }
        finally
        {
            if (!options.KeepStopped)
            {
                foreach (int pid in options.Pids)
                {
                    Signal("CONT", pid);
                }
            }

            await done.CancelAsync();
        }
    }

    private static void Write(SnapshotFile file, Follower follower)
    {
        using var memory = new TargetMemory(follower.Pid);
        file.Begin(follower.Pid);
        foreach (ulong address in memory.PresentPages())
        {
            bool shared = follower.Pages.TryFind(address, out string? store, out ulong offset);
            file.Add(address, shared ? (store!, offset) : null, memory);
        }
    }

    private static void Signal(string name, int pid)
    {
        using Process kill = Process.Start("kill", ["-" + name, pid.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
        if (kill.ExitCode != 0)
        {
            throw new ArgumentException($"process {pid} takes no signal {name}: is it there?");
        }
    }
}

/// <summary>Keeps a map of one process's shared pages up to date, and knows how far it is.</summary>
internal sealed class Follower : IProgress<long>
{
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _following;
    private TaskCompletionSource _moved = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _reached = -1;

    internal Follower(SamepageClient client, int pid, CancellationToken cancel)
    {
        Pid = pid;
        _following = client.FollowPagesAsync(pid, Pages, this, cancel);
    }

    internal int Pid { get; }

    internal SharedPageMap Pages { get; } = new();

    /// <summary>Completes when the map has everything that was shared at the beginning.</summary>
    internal Task Begun => Task.WhenAny(_begun.Task, _following).Unwrap();

    public void Report(long value)
    {
        lock (_lock)
        {
            _reached = value;
            _moved.TrySetResult();
            _moved = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        _begun.TrySetResult();
    }

    /// <summary>Completes when the event with this number is in the map.</summary>
    internal async Task Reaches(long sequence)
    {
        while (true)
        {
            Task moved;
            lock (_lock)
            {
                if (_reached >= sequence)
                {
                    return;
                }

                moved = _moved.Task;
            }

            if (await Task.WhenAny(moved, _following) == _following)
            {
                await _following; // the stream has ended: with the daemon (an exception), or with the process
                throw new ArgumentException($"process {Pid} has ended or was detached");
            }
        }
    }
}
