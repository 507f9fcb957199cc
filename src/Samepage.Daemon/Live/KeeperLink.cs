using Microsoft.Win32.SafeHandles;
using Samepage.Linux;
using Samepage.Linux.Interception;
using Samepage.Linux.Keeper;

namespace Samepage.Daemon.Live;

/// <summary>
/// The daemon's connection to the keeper: started with the first target, found again after a restart, and replaced
/// within a second when it dies, with everything announced anew. Used by the engine's thread; the watcher that notices
/// a keeper's death comes on a thread of its own, hence the lock.
/// </summary>
public sealed class KeeperLink : IMergedMemoryKeeper, IStateKeeper, IDescriptorKeeper, IDisposable
{
    private readonly Lock gate = new();
    private readonly KeeperStartInfo start;
    private readonly IReadOnlyList<string> daemonCommand;
    private readonly Dictionary<int, (ulong StartTicks, int Descriptor)> targets = [];
    private readonly Dictionary<string, int> stores = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SafeFileHandle> kept = new(StringComparer.Ordinal);
    private KeeperClient? client;
    private string? state;
    private bool leaving;

    /// <summary>A link that is not connected yet.</summary>
    /// <param name="program">Full path of this program.</param>
    /// <param name="daemonSocket">Socket of the daemon; the keeper's is beside it.</param>
    /// <param name="daemonCommand">How to start the daemon again; empty for not at all.</param>
    /// <param name="logFile">Where the keeper logs; null discards it.</param>
    public KeeperLink(string program, string daemonSocket, IReadOnlyList<string> daemonCommand, string? logFile)
    {
        var socket = SocketBeside(daemonSocket);
        this.daemonCommand = daemonCommand;
        // The keeper hands its log on to the daemons it starts.
        string[] log = logFile is null ? [] : ["--log", logFile];
        start = new KeeperStartInfo([program, "keeper", "--socket", socket, .. log], socket, logFile);
    }

    internal KeeperLink(KeeperStartInfo start)
    {
        this.start = start;
        daemonCommand = [];
    }

    /// <summary>The keeper's socket for a daemon's.</summary>
    public static string SocketBeside(string daemonSocket)
    {
        var path = Path.GetFullPath(daemonSocket);
        return path.EndsWith(".sock", StringComparison.Ordinal) ? path[..^5] + "-keeper.sock" : path + "-keeper";
    }

    /// <inheritdoc/>
    public void Add(int pid, ulong startTicks, int descriptor)
    {
        lock (gate)
        {
            Connected().Add(pid, startTicks, descriptor);
            targets[pid] = (startTicks, descriptor);
        }
    }

    /// <inheritdoc/>
    public void Drop(int pid)
    {
        lock (gate)
        {
            if (targets.Remove(pid))
            {
                Quietly(keeper => keeper.Drop(pid));
            }
        }
    }

    /// <inheritdoc/>
    public void KeepStore(string domain, int descriptor)
    {
        lock (gate)
        {
            Connected().Store(domain, descriptor);
            stores[domain] = descriptor;
        }
    }

    /// <inheritdoc/>
    public SafeFileHandle? TakeStore(string domain)
    {
        lock (gate)
        {
            return Find()?.TakeStore(domain);
        }
    }

    /// <inheritdoc/>
    public void Keep(string name, SafeFileHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        lock (gate)
        {
            Connected().Keep(name, (int)descriptor.DangerousGetHandle());
            kept[name] = descriptor;
        }
    }

    /// <inheritdoc/>
    public void LetGo(string name)
    {
        lock (gate)
        {
            kept.Remove(name);
            Quietly(keeper => keeper.LetGo(name));
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Kept()
    {
        lock (gate)
        {
            return Find()?.List().Kept ?? [];
        }
    }

    /// <inheritdoc/>
    public SafeFileHandle? TakeKept(string name)
    {
        lock (gate)
        {
            SafeFileHandle? taken = Find()?.TakeKept(name);
            if (taken is not null)
            {
                kept[name] = taken;
            }

            return taken;
        }
    }

    /// <inheritdoc/>
    public string? Load()
    {
        lock (gate)
        {
            try
            {
                var text = Find()?.GetState();
                state = string.IsNullOrEmpty(text) ? null : text;
            }
            catch (IOException)
            {
                state = null;
            }

            return state;
        }
    }

    /// <inheritdoc/>
    public void Save(string state)
    {
        lock (gate)
        {
            this.state = state;
            Quietly(keeper => keeper.PutState(state));
        }
    }

    /// <inheritdoc/>
    public void Goodbye()
    {
        lock (gate)
        {
            leaving = true;
            Quietly(keeper => keeper.Goodbye());
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        KeeperClient? last;
        lock (gate)
        {
            leaving = true;
            last = client;
            client = null;
        }

        // Outside the lock: it waits for the watcher, which may be waiting for the lock.
        last?.Dispose();
    }

    private void Quietly(Action<KeeperClient> action)
    {
        try
        {
            if (client is not null)
            {
                action(client);
            }
        }
        catch (IOException)
        {
            // The watcher brings a new keeper and tells it everything.
        }
    }

    /// <summary>The keeper if one is there already.</summary>
    private KeeperClient? Find()
    {
        if (client is null && KeeperClient.TryConnect(start.SocketPath) is { } found)
        {
            Introduce(found);
        }

        return client;
    }

    private KeeperClient Connected()
    {
        if (client is null)
        {
            Introduce(KeeperClient.EnsureRunning(start));
        }

        return client!;
    }

    private void Introduce(KeeperClient connected)
    {
        connected.Hello(Environment.ProcessId, daemonCommand);
        connected.ConnectionLost += Reconnect;
        client = connected;
        foreach (var (domain, descriptor) in stores)
        {
            connected.Store(domain, descriptor);
        }

        foreach (var (name, descriptor) in kept)
        {
            if (!descriptor.IsClosed)
            {
                connected.Keep(name, (int)descriptor.DangerousGetHandle());
            }
        }

        foreach (var (pid, target) in targets)
        {
            try
            {
                connected.Add(pid, target.StartTicks, target.Descriptor);
            }
            catch (IOException)
            {
                // That process is gone.
            }
        }

        if (state is not null)
        {
            connected.PutState(state);
        }
    }

    private void Reconnect()
    {
        const int attempts = 20;
        for (var i = 0; i < attempts; i++)
        {
            lock (gate)
            {
                if (leaving)
                {
                    return;
                }

                try
                {
                    client?.Dispose();
                    client = null;
                    Introduce(KeeperClient.EnsureRunning(start));
                    return;
                }
                catch (IOException)
                {
                    client = null;
                }
            }

            Thread.Sleep(50);
        }
    }
}
