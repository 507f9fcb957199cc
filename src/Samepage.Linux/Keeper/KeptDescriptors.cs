using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>
/// Descriptors held under names for the daemon: the listeners of commands under <c>samepage run</c> and what belongs to
/// each (run:ID:listener, run:ID:...). While a listener is held, its command's calls wait for the next daemon; when
/// there has been none for a while the listener is closed, and the kernel answers such calls with ENOSYS.
/// </summary>
internal sealed class KeptDescriptors(KeeperLedger ledger)
{
    /// <summary>How long calls may wait for a daemon.</summary>
    internal static readonly TimeSpan DaemonAwaited = TimeSpan.FromSeconds(10);

    private const string ListenerSuffix = ":listener";
    private DateTimeOffset? _withoutDaemonSince;

    internal bool HasListeners =>
        ledger.Kept.Keys.Any(name => name.EndsWith(ListenerSuffix, StringComparison.Ordinal));

    internal string Keep(KeeperRequest request)
    {
        int fd = KeeperFiles.Fetch(request.Pid, request.Fd);
        if (fd < 0)
        {
            return $"err cannot take descriptor {request.Fd} of process {request.Pid} (errno {-fd})";
        }

        Close(request.Domain);
        ledger.Kept[request.Domain] = new LedgerDescriptor(request.Domain, fd, KeeperFiles.LinkOf(fd));
        ledger.Save();
        return "ok";
    }

    internal string LetGo(string name)
    {
        if (!Close(name))
        {
            return "err no such descriptor";
        }

        ledger.Save();
        return "ok";
    }

    internal string Take(string name) => ledger.Kept.TryGetValue(name, out LedgerDescriptor kept)
        ? $"ok {Environment.ProcessId} {kept.Fd}" : "err no such descriptor";

    /// <summary>Fetches what the ledger names out of the table of the holder that the ledger was found in.</summary>
    internal void Adopt(int holder)
    {
        foreach (LedgerDescriptor kept in ledger.Kept.Values.ToList())
        {
            int fd = holder == 0 ? -1 : KeeperFiles.Fetch(holder, kept.Fd);
            if (fd >= 0 && KeeperFiles.LinkOf(fd) == kept.Link)
            {
                ledger.Kept[kept.Name] = kept with { Fd = fd };
                continue;
            }

            ledger.Kept.Remove(kept.Name);
            _ = fd >= 0 ? close(fd) : 0;
        }
    }

    internal void Look(DateTimeOffset now, bool hasDaemon)
    {
        _withoutDaemonSince = hasDaemon ? null : _withoutDaemonSince ?? now;
        bool abandoned = now - _withoutDaemonSince >= DaemonAwaited;
        List<string> ended = [.. ledger.Kept.Values
            .Where(kept => kept.Name.EndsWith(ListenerSuffix, StringComparison.Ordinal)
                && (abandoned || HasHungUp(kept.Fd)))
            .Select(kept => kept.Name[..^(ListenerSuffix.Length - 1)])];
        if (ended.Count == 0)
        {
            return;
        }

        foreach (string name in ledger.Kept.Keys.ToList())
        {
            if (ended.Exists(run => name.StartsWith(run, StringComparison.Ordinal)))
            {
                Close(name);
            }
        }

        string why = abandoned ? "are without a daemon" : "have ended";
        KeeperLog.Write($"{ended.Count} commands {why}: listeners closed");
        ledger.Save();
    }

    private bool Close(string name)
    {
        if (!ledger.Kept.Remove(name, out LedgerDescriptor kept))
        {
            return false;
        }

        _ = close(kept.Fd);
        return true;
    }

    private static unsafe bool HasHungUp(int fd)
    {
        PollDescriptor one = new() { fd = fd };
        // SAFETY: one entry.
        return poll(&one, 1, 0) > 0 && (one.revents & Interop.KsmCalls.POLLHUP) != 0;
    }
}
