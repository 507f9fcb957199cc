using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>
/// Watches the registered daemon by pidfd and starts another one when it dies without goodbye. A daemon that dies again
/// at once is retried with growing delays and then left alone: serving goes on without it.
/// </summary>
internal sealed class DaemonSupervisor(int epoll, bool respawn, string? logPath, TimeProvider clock)
{
    internal const int DeathsMax = 5;
    internal static readonly TimeSpan DeathWindow = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(50);

    private readonly Queue<DateTimeOffset> _deaths = new();
    private IReadOnlyList<string> _command = [];
    private int _pidfd = -1;
    private int _pid;
    private DateTimeOffset? _startAt;

    /// <summary>A daemon is registered, or one is about to be started.</summary>
    internal bool HasDaemon => _pidfd >= 0 || _startAt is not null;

    /// <summary>Program and arguments of the next daemon.</summary>
    internal IReadOnlyList<string> Command
    {
        get => _command;
        set => _command = value;
    }

    /// <summary>When <see cref="Tick"/> wants to be called; null: no need.</summary>
    internal DateTimeOffset? Due => _startAt;

    /// <summary>Watches a daemon from now on, instead of any earlier one. 0 or -errno.</summary>
    internal unsafe int Watch(int pid)
    {
        int pidfd = PidfdOpen(pid);
        if (pidfd < 0)
        {
            return pidfd;
        }

        Forget();
        _pidfd = pidfd;
        _pid = pid;
        epoll_event interest = new() { events = EPOLLIN, data = KeeperTag.Make(KeeperTag.Daemon, pidfd) };
        // SAFETY: the kernel copies the event during the call.
        return epoll_ctl(epoll, EPOLL_CTL_ADD, pidfd, &interest) == 0 ? 0 : -LastErrno;
    }

    /// <summary>The daemon said goodbye: no successor is wanted.</summary>
    internal unsafe void Forget()
    {
        _startAt = null;
        if (_pidfd >= 0)
        {
            _ = epoll_ctl(epoll, EPOLL_CTL_DEL, _pidfd, null);
            _ = close(_pidfd);
            _pidfd = -1;
        }
    }

    /// <summary>The pidfd became readable.</summary>
    internal void Died()
    {
        if (_pidfd < 0)
        {
            return;
        }

        KeeperLog.Write($"daemon {_pid} died");
        _ = DetachedProcess.Reap(_pid);
        Forget();
        PlanStart();
    }

    /// <summary>Starts a daemon if one is due.</summary>
    internal void Tick()
    {
        if (_startAt is not { } at || clock.GetUtcNow() < at)
        {
            return;
        }

        _startAt = null;
        int pid = KeeperPriority.WithoutPrivileges(() => DetachedProcess.Start(_command, logPath));
        if (pid < 0)
        {
            KeeperLog.Write($"cannot start {_command[0]}: errno {-pid}");
            PlanStart();
            return;
        }

        KeeperLog.Write($"started {_command[0]} as {pid}");
        if (Watch(pid) < 0)
        {
            PlanStart();
        }
    }

    private void PlanStart()
    {
        if (!respawn || _command.Count == 0)
        {
            return;
        }

        DateTimeOffset now = clock.GetUtcNow();
        while (_deaths.TryPeek(out DateTimeOffset oldest) && now - oldest > DeathWindow)
        {
            _deaths.Dequeue();
        }

        _deaths.Enqueue(now);
        if (_deaths.Count > DeathsMax)
        {
            KeeperLog.Write(
                $"the daemon died {_deaths.Count} times in {DeathWindow.TotalSeconds} s; not starting it again");
            return;
        }

        _startAt = now + (FirstDelay * (1 << (2 * (_deaths.Count - 1))));
    }
}
