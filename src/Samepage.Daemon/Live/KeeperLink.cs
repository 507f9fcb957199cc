using Microsoft.Win32.SafeHandles;
using Samepage.Linux;
using Samepage.Linux.Keeper;

namespace Samepage.Daemon.Live;

/// <summary>
/// The daemon's connection to its keeper: started if there is none, and started again - with everything announced anew -
/// when the keeper dies. What has been announced is remembered here for that. Thread-safe: the engine's loop announces,
/// the client's watching thread reconnects.
/// </summary>
public sealed class KeeperLink(KeeperStartInfo start, IReadOnlyList<string> daemonCommand)
    : IMergedMemoryKeeper, IStateKeeper, IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<int, (ulong StartTicks, int Descriptor)> _targets = [];
    private readonly Dictionary<string, int> _stores = new(StringComparer.Ordinal);
    private KeeperClient? _client;
    private string? _state;
    private bool _leaving;

    /// <summary>The keeper's socket that belongs to a daemon's socket: /run/samepage.sock has
    /// /run/samepage-keeper.sock.</summary>
    public static string SocketFor(string daemonSocket)
    {
        const string ending = ".sock";
        string path = Path.GetFullPath(daemonSocket);
        string stem = path.EndsWith(ending, StringComparison.Ordinal) ? path[..^ending.Length] : path;
        return stem + "-keeper" + ending;
    }

    /// <summary>Connects, starting a keeper if none answers, and tells it who we are.</summary>
    /// <exception cref="IOException">There is no keeper and none can be started.</exception>
    public void Connect()
    {
        lock (_lock)
        {
            Reconnect();
        }
    }

    /// <inheritdoc/>
    public void Add(int pid, ulong startTicks, int descriptor)
    {
        lock (_lock)
        {
            Call(client => client.Add(pid, startTicks, descriptor));
            _targets[pid] = (startTicks, descriptor);
        }
    }

    /// <inheritdoc/>
    public void Drop(int pid)
    {
        lock (_lock)
        {
            _targets.Remove(pid);
            Call(client => client.Drop(pid));
        }
    }

    /// <inheritdoc/>
    public void KeepStore(string domain, int descriptor)
    {
        lock (_lock)
        {
            Call(client => client.Store(domain, descriptor));
            _stores[domain] = descriptor;
        }
    }

    /// <inheritdoc/>
    public SafeFileHandle? TakeStore(string domain)
    {
        lock (_lock)
        {
            return Call(client => client.TakeStore(domain));
        }
    }

    /// <inheritdoc/>
    public string? Load()
    {
        lock (_lock)
        {
            return Call(client => client.GetState());
        }
    }

    /// <inheritdoc/>
    public void Save(string state)
    {
        lock (_lock)
        {
            _state = state;
            Call(client => client.PutState(state));
        }
    }

    /// <inheritdoc/>
    public void Goodbye()
    {
        lock (_lock)
        {
            _leaving = true;
            try
            {
                _client?.Goodbye();
            }
            catch (IOException)
            {
                // A keeper that has gone needs no goodbye.
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        KeeperClient? client;
        lock (_lock)
        {
            _leaving = true;
            client = _client;
            _client = null;
        }

        client?.Dispose(); // outside: it waits for its thread, which may be waiting for the lock
    }

    private void Call(Action<KeeperClient> request) => Call(client =>
    {
        request(client);
        return true;
    });

    // One attempt more, with a keeper that is new: requests are made so that repeating them is harmless.
    private T Call<T>(Func<KeeperClient, T> request)
    {
        try
        {
            return request(_client ?? throw new KeeperException("the keeper has not been connected"));
        }
        catch (KeeperException) when (_client is not null && !_leaving && !Answers(_client))
        {
            Reconnect();
            return request(_client!);
        }
    }

    private static bool Answers(KeeperClient client)
    {
        try
        {
            client.Ping();
            return true;
        }
        catch (KeeperException)
        {
            return false;
        }
    }

    private void Reconnect()
    {
        // The old client is not disposed here: its watching thread may be waiting for our lock, and Dispose waits for it.
        KeeperClient client = KeeperClient.EnsureRunning(start);
        KeeperClient? old = _client;
        _client = client;
        client.ConnectionLost += () => Lost(client);
        client.Hello(Environment.ProcessId, daemonCommand);
        foreach (var (domain, descriptor) in _stores)
        {
            client.Store(domain, descriptor);
        }

        foreach (var (pid, (startTicks, descriptor)) in _targets.ToList())
        {
            Announce(client, pid, startTicks, descriptor);
        }

        if (_state is not null)
        {
            client.PutState(_state);
        }

        if (old is not null)
        {
            _ = Task.Run(old.Dispose);
        }
    }

    private void Announce(KeeperClient client, int pid, ulong startTicks, int descriptor)
    {
        try
        {
            client.Add(pid, startTicks, descriptor);
        }
        catch (KeeperException)
        {
            _targets.Remove(pid); // it has ended meanwhile
        }
    }

    private void Lost(KeeperClient client)
    {
        lock (_lock)
        {
            if (_leaving || _client != client)
            {
                return;
            }

            try
            {
                Reconnect();
            }
            catch (IOException)
            {
                // The next request tries again, and fails in the words of the keeper when it cannot either.
            }
        }
    }
}
