using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>The keeper's one thread: waits for faults, clients and deaths, and answers them in that order of
/// importance.</summary>
internal sealed class KeeperServer : IDisposable
{
    private const int EventsPerWait = 64;
    private const int ConnectionsMax = 32;
    // How many descriptors the slow timer asks at a time; forks pay for the rest (FaultServer.Serve).
    private const int ProbesPerTick = 4096;
    private static readonly TimeSpan TickPeriod = TimeSpan.FromSeconds(5);

    private readonly KeeperOptions _options;
    private readonly int _epoll;
    private readonly int _listener;
    private readonly string _holderName;
    private readonly FaultServer _faults;
    private readonly DaemonSupervisor _supervisor;
    private readonly KeeperService _service;
    private readonly KeeperConnection?[] _connections = new KeeperConnection?[ConnectionsMax];
    private readonly TimeProvider _clock = TimeProvider.System;
    private int _holderPid;
    private int _holderPidfd = -1;
    private DateTimeOffset _busyAt;
    private DateTimeOffset _nextTick;
    private bool _terminate;

    internal KeeperServer(KeeperOptions options, int epoll, int listener)
    {
        _options = options;
        _epoll = epoll;
        _listener = listener;
        _holderName = DescriptorHolder.NameFor(options.SocketPath);
        _faults = new FaultServer(epoll, options.Answer, options.WindowPages);
        _supervisor = new DaemonSupervisor(epoll, options.Respawn, options.LogPath, _clock);
        _service = new KeeperService(_faults, new KeeperLedger(), _supervisor);
        _busyAt = _clock.GetUtcNow();
    }

    /// <summary>SIGTERM: leave if nothing depends on us, stay otherwise. Safe from any thread.</summary>
    internal void RequestEnd() => Volatile.Write(ref _terminate, true);

    internal unsafe void Run()
    {
        // First of all, so that no descriptor is ever held by us alone.
        StartHolder();
        List<int> old = DescriptorHolder.Find(_holderName, _holderPid);
        int adopted = _service.Adopt(old);
        old.ForEach(DescriptorHolder.Kill);
        Watch(_listener, KeeperTag.Make(KeeperTag.Listener, 0));
        KeeperLog.Write($"serving at {_options.SocketPath}, {adopted} userfaultfds adopted from {old.Count} holders");

        epoll_event* events = stackalloc epoll_event[EventsPerWait];
        while (!IsFinished())
        {
            int count = epoll_wait(_epoll, events, EventsPerWait, MillisecondsToSleep());
            // SAFETY: the kernel has filled `count` entries of the array.
            Dispatch(new ReadOnlySpan<epoll_event>(events, Math.Max(count, 0)));
            Tick();
        }

        if (_holderPid > 0)
        {
            DescriptorHolder.Kill(_holderPid);
        }
    }

    public void Dispose()
    {
        foreach (KeeperConnection? connection in _connections)
        {
            connection?.Dispose();
        }

        _service.Dispose();
    }

    private void Dispatch(ReadOnlySpan<epoll_event> events)
    {
        // Whoever waits at a fault is a stopped thread; clients can wait.
        foreach (epoll_event one in events)
        {
            if (KeeperTag.KindOf(one.data) == KeeperTag.Memory)
            {
                _faults.Serve(KeeperTag.IndexOf(one.data));
            }
        }

        foreach (epoll_event one in events)
        {
            switch (KeeperTag.KindOf(one.data))
            {
                case KeeperTag.Listener:
                    Accept();
                    break;
                case KeeperTag.Connection:
                    Serve(KeeperTag.IndexOf(one.data), one.events);
                    break;
                case KeeperTag.Daemon:
                    _supervisor.Died();
                    break;
                case KeeperTag.Holder:
                    KeeperLog.Write("the descriptor holder died; starting another");
                    StartHolder();
                    break;
                default:
                    break;
            }
        }
    }

    private void Tick()
    {
        _supervisor.Tick();
        DateTimeOffset now = _clock.GetUtcNow();
        if (now >= _nextTick)
        {
            _nextTick = now + TickPeriod;
            _faults.Probe(ProbesPerTick);
            _service.LookAfterListeners(now);
        }
    }

    private bool IsFinished()
    {
        if (_faults.Count > 0 || _supervisor.HasDaemon || _service.HoldsListeners)
        {
            _busyAt = _clock.GetUtcNow();
            return false;
        }

        if (Volatile.Read(ref _terminate))
        {
            return true;
        }

        if (_connections.Any(connection => connection is not null))
        {
            _busyAt = _clock.GetUtcNow();
        }

        return _clock.GetUtcNow() - _busyAt >= _options.IdleGrace;
    }

    private int MillisecondsToSleep()
    {
        DateTimeOffset until = _supervisor.Due is { } due && due < _nextTick ? due : _nextTick;
        DateTimeOffset idleEnd = _busyAt + _options.IdleGrace;
        until = _faults.Count == 0 && idleEnd < until ? idleEnd : until;
        return (int)Math.Clamp((until - _clock.GetUtcNow()).TotalMilliseconds + 1, 10, TickPeriod.TotalMilliseconds);
    }

    private unsafe void StartHolder()
    {
        if (!_options.Holder)
        {
            return;
        }

        if (_holderPidfd >= 0)
        {
            _ = epoll_ctl(_epoll, EPOLL_CTL_DEL, _holderPidfd, null);
            _ = close(_holderPidfd);
            _ = DetachedProcess.Reap(_holderPid);
        }

        _holderPid = DescriptorHolder.Start(_holderName);
        _holderPidfd = _holderPid > 0 ? PidfdOpen(_holderPid) : -1;
        if (_holderPidfd >= 0)
        {
            Watch(_holderPidfd, KeeperTag.Make(KeeperTag.Holder, 0));
        }
        else
        {
            KeeperLog.Write(
                $"cannot start a descriptor holder ({_holderPid}): forked children depend on this keeper alone");
        }
    }

    private unsafe void Watch(int fd, ulong tag)
    {
        epoll_event interest = new() { events = EPOLLIN, data = tag };
        // SAFETY: the kernel copies the event during the call.
        _ = epoll_ctl(_epoll, EPOLL_CTL_ADD, fd, &interest);
    }

    private unsafe void Accept()
    {
        // SAFETY: no address is asked for.
        int fd = accept4(_listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
        {
            return;
        }

        int slot = Array.IndexOf(_connections, null);
        if (slot < 0 || !KeeperSocket.PeerMayControl(fd))
        {
            _ = close(fd);
            return;
        }

        _connections[slot] = new KeeperConnection(fd);
        Watch(fd, KeeperTag.Make(KeeperTag.Connection, slot));
    }

    private unsafe void Serve(int slot, uint events)
    {
        if (_connections[slot] is not { } connection)
        {
            return;
        }

        if ((events & EPOLLOUT) != 0)
        {
            connection.Flush();
        }

        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        {
            connection.Receive();
            while (Step(connection))
            {
            }
        }

        if (connection.IsOver)
        {
            _ = epoll_ctl(_epoll, EPOLL_CTL_DEL, connection.Fd, null);
            connection.Dispose();
            _connections[slot] = null;
            return;
        }

        epoll_event interest = new()
        {
            events = connection.HasPendingOutput ? EPOLLIN | EPOLLOUT : EPOLLIN,
            data = KeeperTag.Make(KeeperTag.Connection, slot),
        };
        // SAFETY: the kernel copies the event during the call.
        _ = epoll_ctl(_epoll, EPOLL_CTL_MOD, connection.Fd, &interest);
    }

    // One request; false when no complete one is there.
    private bool Step(KeeperConnection connection)
    {
        if (connection.IsOver && connection.Waiting is null)
        {
            return false;
        }

        if (connection.Waiting is { } waiting)
        {
            if (connection.TakeBytes(waiting.Bytes) is not { } body)
            {
                return false;
            }

            connection.Waiting = null;
            connection.Answer(_service.Handle(waiting, body));
            return true;
        }

        if (connection.TakeLine() is not { } line)
        {
            return false;
        }

        (KeeperRequest? request, string? error) = KeeperProtocol.Parse(line);
        if (request is null)
        {
            bool framingLost = line.AsSpan().StartsWith("STATE-PUT"u8);
            (framingLost ? (Action<string>)connection.Finish : text => connection.Answer(text))($"err {error}");
        }
        else if (request.Verb == KeeperVerb.StatePut)
        {
            connection.Waiting = request;
        }
        else if (request.Verb == KeeperVerb.StateGet)
        {
            connection.Answer($"ok {_service.State.Length}", _service.State);
        }
        else
        {
            connection.Answer(_service.Handle(request, []));
        }

        return true;
    }
}
