using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>How to reach a keeper and how to start one.</summary>
/// <param name="Command">Program (full path) and arguments that run a keeper listening at
/// <paramref name="SocketPath"/>.</param>
/// <param name="SocketPath">Its socket.</param>
/// <param name="LogPath">File for its stderr; null discards it.</param>
public sealed record KeeperStartInfo(IReadOnlyList<string> Command, string SocketPath, string? LogPath = null);

/// <summary>A target that a keeper holds.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="StartTime">Field 22 of /proc/PID/stat.</param>
/// <param name="Fd">The userfaultfd's number in the target's own table.</param>
public readonly record struct KeeperTarget(int Pid, ulong StartTime, int Fd);

/// <summary>Everything a keeper holds.</summary>
/// <param name="Targets">Targets announced and alive.</param>
/// <param name="Domains">Domains whose store it keeps open.</param>
/// <param name="Descriptors">Userfaultfds, those of forked children included.</param>
public sealed record KeeperContents(
    IReadOnlyList<KeeperTarget> Targets, IReadOnlyList<string> Domains, int Descriptors)
{
    /// <summary>Names of other descriptors it keeps open.</summary>
    public IReadOnlyList<string> Kept { get; init; } = [];
}

/// <summary>The keeper refused a request or cannot be reached.</summary>
public sealed class KeeperException(string message) : IOException(message);

/// <summary>
/// The daemon's end of the keeper's protocol. Requests are short and synchronous; any thread may make them. After
/// <see cref="ConnectionLost"/> the client is of no more use: dispose it, call <see cref="EnsureRunning"/> again, and
/// announce daemon, targets, stores and state again (the new keeper has adopted what the old one held, and adding
/// twice is harmless).
/// </summary>
public sealed class KeeperClient : IDisposable
{
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(20);

    // A keeper that has not answered by then is started anew: targets may be waiting for it. Under heavy load one in
    // some hundred starts was seen to hang until the limit.
    private static readonly TimeSpan StartPatience = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan OtherLimit = TimeSpan.FromSeconds(0.2);

    private readonly Lock _lock = new();
    private readonly int _socket;
    private readonly int _keeper;
    private readonly int _stop;
    private readonly bool _isOurChild;
    private readonly byte[] _buffer = new byte[4096];
    private readonly Thread _watcher;
    private int _begin;
    private int _end;
    private Action? _whenLost;
    private bool _lost;
    private bool _broken;
    private bool _disposed;

    private KeeperClient(int socket, int keeper, int pid, bool isOurChild)
    {
        _socket = socket;
        _keeper = keeper;
        _isOurChild = isOurChild;
        KeeperPid = pid;
        _stop = eventfd(0, O_CLOEXEC);
        _watcher = new Thread(Watch, 128 << 10) { IsBackground = true, Name = "keeper watch" };
    }

    /// <summary>Process id of the keeper.</summary>
    public int KeeperPid { get; }

    /// <summary>The keeper is gone. Raised once, on a thread of the client's own, also for who subscribes after the
    /// death; not after <see cref="Dispose"/>.</summary>
    public event Action? ConnectionLost
    {
        add
        {
            bool late;
            lock (_lock)
            {
                _whenLost += value;
                late = _lost;
            }

            if (late && value is not null)
            {
                new Thread(() => value()) { IsBackground = true, Name = "keeper lost" }.Start();
            }
        }

        remove
        {
            lock (_lock)
            {
                _whenLost -= value;
            }
        }
    }

    /// <summary>Connects to the keeper, starting one first if none answers.</summary>
    /// <exception cref="KeeperException">No keeper could be started.</exception>
    public static KeeperClient EnsureRunning(KeeperStartInfo start)
    {
        ArgumentNullException.ThrowIfNull(start);
        if (TryConnect(start.SocketPath, 0) is { } running)
        {
            return running;
        }

        long limit = Environment.TickCount64 + (long)StartLimit.TotalMilliseconds;
        while (Environment.TickCount64 < limit)
        {
            if (StartOne(start) is { } started)
            {
                return started;
            }
        }

        throw new KeeperException(
            $"the keeper does not answer at {start.SocketPath} within {StartLimit.TotalSeconds} s; see its log");
    }

    /// <summary>Starts a keeper and connects to it; null when it does not answer soon, and then it has ended.</summary>
    private static KeeperClient? StartOne(KeeperStartInfo start)
    {
        int pid = DetachedProcess.Start(start.Command, start.LogPath);
        if (pid < 0)
        {
            throw new KeeperException($"cannot start the keeper {start.Command[0]} (errno {-pid})");
        }

        KeeperPriority.Favour(pid);
        bool ended = false;
        long deadline = Environment.TickCount64 + (long)StartPatience.TotalMilliseconds;
        while (Environment.TickCount64 < deadline)
        {
            if (TryConnect(start.SocketPath, pid) is { } started)
            {
                return started;
            }

            if (!ended && DetachedProcess.Reap(pid))
            {
                // It was killed, or another was faster and will answer soon: waiting for the limit helps nobody.
                ended = true;
                deadline = Math.Min(deadline, Environment.TickCount64 + (long)OtherLimit.TotalMilliseconds);
            }

            Thread.Sleep(2);
        }

        if (ended)
        {
            throw new KeeperException($"the keeper does not answer at {start.SocketPath}; see its log");
        }

        DetachedProcess.End(pid);
        return null;
    }

    /// <summary>Connects to a running keeper; null if none lives at that path.</summary>
    public static KeeperClient? TryConnect(string socketPath) => TryConnect(socketPath, 0);

    /// <summary>True if the keeper answers.</summary>
    public void Ping() => Call("PING");

    /// <summary>Registers the daemon and how to start its successor; an empty command means none.</summary>
    public void Hello(int daemonPid, IReadOnlyList<string> command)
    {
        ArgumentNullException.ThrowIfNull(command);
        Call(string.Join(' ', command.Select(Uri.EscapeDataString).Prepend(Text($"HELLO {daemonPid}"))));
    }

    /// <summary>The daemon leaves on purpose: no successor, and the keeper may go when all targets are gone.</summary>
    public void Goodbye() => Call("GOODBYE");

    /// <summary>Has the keeper take userfaultfd number <paramref name="fd"/> out of the target's table. Repeating it
    /// is harmless.</summary>
    public void Add(int pid, ulong startTime, int fd) => Call(Text($"ADD {pid} {startTime} {fd}"));

    /// <summary>Forgets a target that has no merged mappings any more. False if it was not held.</summary>
    public bool Drop(int pid) => TryCall(Text($"DROP {pid}"), out _);

    /// <summary>Has the keeper hold a store's file open, descriptor <paramref name="fd"/> of this process.</summary>
    public void Store(string domain, int fd) =>
        Call(Text($"STORE {Uri.EscapeDataString(domain)} {Environment.ProcessId} {fd}"));

    /// <summary>Lets go of a store. False if it was not held.</summary>
    public bool DropStore(string domain) => TryCall("DROP-STORE " + Uri.EscapeDataString(domain), out _);

    /// <summary>The store that an earlier daemon left with the keeper, or null.</summary>
    public SafeFileHandle? TakeStore(string domain)
    {
        if (!TryCall("TAKE-STORE " + Uri.EscapeDataString(domain), out string answer))
        {
            return null;
        }

        string[] words = answer.Split(' ');
        int fd = PidfdGetfd(_keeper, int.Parse(words[1], CultureInfo.InvariantCulture));
        return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true)
            : throw new KeeperException($"cannot take the store of {domain} from keeper {KeeperPid} (errno {-fd})");
    }

    /// <summary>Has the keeper hold descriptor <paramref name="fd"/> of this process under a name.</summary>
    public void Keep(string name, int fd) =>
        Call(Text($"KEEP {Uri.EscapeDataString(name)} {Environment.ProcessId} {fd}"));

    /// <summary>Has the keeper let go of it. False if it was not held.</summary>
    public bool LetGo(string name) => TryCall("LET-GO " + Uri.EscapeDataString(name), out _);

    /// <summary>A duplicate of what the keeper holds under a name, or null.</summary>
    public SafeFileHandle? TakeKept(string name)
    {
        if (!TryCall("TAKE-KEPT " + Uri.EscapeDataString(name), out string answer))
        {
            return null;
        }

        int fd = PidfdGetfd(_keeper, Whole(answer.Split(' ')[1]));
        return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true)
            : throw new KeeperException($"cannot take {name} from keeper {KeeperPid} (errno {-fd})");
    }

    /// <summary>What the keeper holds.</summary>
    public KeeperContents List()
    {
        var targets = new List<KeeperTarget>();
        var domains = new List<string>();
        var kept = new List<string>();
        int descriptors = 0;
        foreach (string word in Call("LIST").Split(' '))
        {
            string value = word[(word.IndexOf('=', StringComparison.Ordinal) + 1)..];
            if (word.StartsWith("target=", StringComparison.Ordinal))
            {
                string[] parts = value.Split(',');
                ulong startTime = ulong.Parse(parts[1], CultureInfo.InvariantCulture);
                targets.Add(new KeeperTarget(Whole(parts[0]), startTime, Whole(parts[2])));
            }
            else if (word.StartsWith("store=", StringComparison.Ordinal))
            {
                domains.Add(Uri.UnescapeDataString(value));
            }
            else if (word.StartsWith("kept=", StringComparison.Ordinal))
            {
                kept.Add(Uri.UnescapeDataString(value));
            }
            else if (word.StartsWith("descriptors=", StringComparison.Ordinal))
            {
                descriptors = Whole(value);
            }
        }

        return new KeeperContents(targets, domains, descriptors) { Kept = kept };
    }

    /// <summary>Counters by name: faults, pages, wakes, forks, dropped, descriptors, allocated (bytes).</summary>
    public IReadOnlyDictionary<string, long> Stats() => Call("STATS").Split(' ', StringSplitOptions.RemoveEmptyEntries)
        .Select(word => word.Split('=')).ToDictionary(
            pair => pair[0], pair => long.Parse(pair[1], CultureInfo.InvariantCulture), StringComparer.Ordinal);

    /// <summary>Leaves a text of at most 64 KiB (UTF-8) with the keeper, for the next daemon.</summary>
    public void PutState(string state)
    {
        byte[] body = Encoding.UTF8.GetBytes(state);
        lock (_lock)
        {
            Exchange(Text($"STATE-PUT {body.Length}"), body);
        }
    }

    /// <summary>The text last left, empty if none.</summary>
    public string GetState()
    {
        lock (_lock)
        {
            int bytes = Whole(Exchange("STATE-GET", []));
            return Encoding.UTF8.GetString(ReadBytes(bytes));
        }
    }

    /// <summary>Closes the connection. The keeper goes on.</summary>
    public unsafe void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        ulong one = 1;
        // SAFETY: an eventfd takes exactly 8 bytes.
        _ = write(_stop, &one, sizeof(ulong));
        if (Thread.CurrentThread != _watcher)
        {
            _watcher.Join();
        }

        _ = close(_socket);
        _ = close(_keeper);
        _ = close(_stop);
    }

    private static KeeperClient? TryConnect(string path, int child)
    {
        if (!KeeperSocket.IsServed(path, out int pid))
        {
            return null;
        }

        int socket = KeeperSocket.Connect(path, AnswerLimit, out KeeperSocket.Credentials server);
        if (socket < 0)
        {
            return null;
        }

        int keeper = PidfdOpen(server.Pid);
        if (keeper < 0 || server.Pid != pid || HasExited(keeper) || !KeeperSocket.PeerMayControl(socket))
        {
            _ = keeper >= 0 ? close(keeper) : 0;
            _ = close(socket);
            return null;
        }

        var client = new KeeperClient(socket, keeper, server.Pid, server.Pid == child);
        client._watcher.Start();
        try
        {
            client.Ping();
            return client;
        }
        catch (KeeperException)
        {
            client.Dispose();
            return null;
        }
    }

    private static unsafe bool HasExited(int pidfd)
    {
        PollDescriptor dead = new() { fd = pidfd, events = POLLIN };
        // SAFETY: one entry.
        return poll(&dead, 1, 0) > 0;
    }

    // Watches the process, not the connection: that one stays open in the holder.
    private unsafe void Watch()
    {
        PollDescriptor* both = stackalloc PollDescriptor[2];
        both[0] = new PollDescriptor { fd = _keeper, events = POLLIN };
        both[1] = new PollDescriptor { fd = _stop, events = POLLIN };
        // SAFETY: two entries; the descriptors are closed only after this thread has been joined or is the closer
        // itself.
        while (poll(both, 2, -1) < 0)
        {
        }

        if (both[1].revents != 0)
        {
            return;
        }

        if (_isOurChild)
        {
            _ = DetachedProcess.Reap(KeeperPid);
        }

        Action? whenLost;
        lock (_lock)
        {
            _lost = true;
            whenLost = _whenLost;
        }

        whenLost?.Invoke();
    }

    private string Call(string line)
    {
        lock (_lock)
        {
            return Exchange(line, []);
        }
    }

    private bool TryCall(string line, out string answer)
    {
        lock (_lock)
        {
            answer = Ask(line, []);
        }

        bool good = answer.StartsWith("ok", StringComparison.Ordinal);
        answer = good ? answer["ok".Length..].TrimStart() : answer;
        return good;
    }

    private string Exchange(string line, byte[] body)
    {
        string answer = Ask(line, body);
        return answer == "ok" ? "" : answer.StartsWith("ok ", StringComparison.Ordinal) ? answer["ok ".Length..]
            : throw new KeeperException($"the keeper refused {line.Split(' ')[0]}: {answer}");
    }

    private unsafe string Ask(string line, byte[] body)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_broken)
        {
            throw new KeeperException($"the connection to keeper {KeeperPid} is lost");
        }

        byte[] request = [.. Encoding.ASCII.GetBytes(line + "\n"), .. body];
        fixed (byte* start = request)
        {
            for (int sent = 0; sent < request.Length;)
            {
                // SAFETY: sent .. Length lies in the pinned array.
                nint done = send(_socket, start + sent, (nuint)(request.Length - sent), MSG_NOSIGNAL);
                // A limit on time makes the kernel report every signal instead of going on by itself.
                sent += done > 0 ? (int)done : done < 0 && LastErrno == EINTR ? 0 : throw Lost();
            }
        }

        var answer = new List<byte>();
        while (true)
        {
            byte letter = ReadByte();
            if (letter == '\n')
            {
                return Encoding.ASCII.GetString(answer.ToArray());
            }

            answer.Add(letter);
        }
    }

    private byte[] ReadBytes(int count)
    {
        byte[] bytes = new byte[count];
        for (int i = 0; i < count; i++)
        {
            bytes[i] = ReadByte();
        }

        return bytes;
    }

    private byte ReadByte()
    {
        if (_begin == _end)
        {
            Refill();
        }

        return _buffer[_begin++];
    }

    private unsafe void Refill()
    {
        fixed (byte* start = _buffer)
        {
            // SAFETY: the pinned buffer's own length.
            nint got;
            do
            {
                got = recv(_socket, start, (nuint)_buffer.Length, 0);
            }
            while (got < 0 && LastErrno == EINTR);

            _begin = 0;
            _end = got > 0 ? (int)got : throw Lost();
        }
    }

    private KeeperException Lost()
    {
        // Whatever arrives from now on would be taken for the answer to another request.
        _broken = true;
        return new KeeperException($"the keeper {KeeperPid} does not answer (errno {LastErrno})");
    }

    private static string Text(FormattableString text) => FormattableString.Invariant(text);

    private static int Whole(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
