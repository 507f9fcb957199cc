using System.Globalization;
using System.Text;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>Carries out requests. A refused request changes nothing.</summary>
internal sealed class KeeperService : IDisposable
{
    private readonly FaultServer _faults;
    private readonly KeeperLedger _ledger;
    private readonly DaemonSupervisor _supervisor;
    private readonly KeptDescriptors _kept;

    internal KeeperService(FaultServer faults, KeeperLedger ledger, DaemonSupervisor supervisor)
    {
        _faults = faults;
        _ledger = ledger;
        _supervisor = supervisor;
        _kept = new KeptDescriptors(ledger);
        _faults.Gone = OnGone;
    }

    /// <summary>Answers one request; <paramref name="body"/> are the raw bytes of STATE-PUT.</summary>
    internal string Handle(KeeperRequest request, byte[] body) => request.Verb switch
    {
        KeeperVerb.Ping => $"ok {KeeperProtocol.Greeting} {Environment.ProcessId}",
        KeeperVerb.Hello => Hello(request),
        KeeperVerb.Goodbye => Goodbye(),
        KeeperVerb.Add => Add(request),
        KeeperVerb.Drop => Drop(request.Pid),
        KeeperVerb.Store => Store(request),
        KeeperVerb.DropStore => DropStore(request.Domain),
        KeeperVerb.TakeStore => TakeStore(request.Domain),
        KeeperVerb.List => List(),
        KeeperVerb.StatePut => StatePut(body),
        KeeperVerb.Stats => Stats(),
        KeeperVerb.Keep => _kept.Keep(request),
        KeeperVerb.LetGo => _kept.LetGo(request.Domain),
        KeeperVerb.TakeKept => _kept.Take(request.Domain),
        _ => $"err {request.Verb} is not answered by a line alone",
    };

    internal byte[] State => _ledger.State;

    /// <summary>Commands that wait for answers are held.</summary>
    internal bool HoldsListeners => _kept.HasListeners;

    /// <summary>Lets go of listeners that nobody uses any more, or that no daemon answers.</summary>
    internal void LookAfterListeners(DateTimeOffset now) => _kept.Look(now, _supervisor.HasDaemon);

    /// <summary>Takes everything that holders of dead keepers still have; the holders can be killed
    /// afterwards.</summary>
    internal int Adopt(IEnumerable<int> holders)
    {
        int adopted = 0;
        int keptIn = 0;
        var open = new List<(int Holder, int Fd, string Link, FileIdentity Identity)>();
        foreach (int holder in holders)
        {
            open.AddRange(OpenFilesOf(holder));
        }

        foreach (var file in open.Where(file => file.Link == KeeperLedger.MemfdLink))
        {
            int fd = KeeperFiles.Fetch(file.Holder, file.Fd);
            if (fd >= 0)
            {
                keptIn = _ledger.TryLoad(fd) ? file.Holder : keptIn;
                _ = close(fd);
            }
        }

        _kept.Adopt(keptIn);

        foreach (var file in open.Where(file => file.Link == KeeperFiles.UserfaultfdLink))
        {
            if (_faults.Holds(file.Identity))
            {
                continue;
            }

            int fd = KeeperFiles.Fetch(file.Holder, file.Fd);
            if (fd >= 0)
            {
                _ = _faults.Add(fd);
                adopted++;
            }
        }

        AdoptStores(open.Select(file => (file.Holder, file.Fd, file.Identity)).ToList());
        _ledger.Targets.RemoveAll(target => !_faults.Holds(target.Identity));
        _supervisor.Command = _ledger.DaemonCommand;
        _ledger.Save();
        return adopted;
    }

    public void Dispose()
    {
        _faults.Dispose();
        _ledger.Dispose();
    }

    private void AdoptStores(List<(int Holder, int Fd, FileIdentity Identity)> open)
    {
        foreach (LedgerStore store in _ledger.Stores.Values.ToList())
        {
            var found = open.FirstOrDefault(file => file.Identity == store.Identity);
            int fd = found.Holder == 0 ? -1 : KeeperFiles.Fetch(found.Holder, found.Fd);
            if (fd >= 0)
            {
                _ledger.Stores[store.Domain] = store with { Fd = fd };
            }
            else
            {
                _ledger.Stores.Remove(store.Domain);
            }
        }
    }

    private static List<(int Holder, int Fd, string Link, FileIdentity Identity)> OpenFilesOf(int holder)
    {
        var files = new List<(int, int, string, FileIdentity)>();
        try
        {
            string directory = string.Create(CultureInfo.InvariantCulture, $"/proc/{holder}/fd");
            foreach (string path in Directory.EnumerateFiles(directory))
            {
                if (int.TryParse(Path.GetFileName(path), CultureInfo.InvariantCulture, out int fd))
                {
                    files.Add((holder, fd, KeeperFiles.ReadLink(path), KeeperFiles.IdentityOf(path)));
                }
            }
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            KeeperLog.Write($"cannot list the descriptors of holder {holder}: {problem.Message}");
        }

        return files;
    }

    private string Hello(KeeperRequest request)
    {
        int result = _supervisor.Watch(request.Pid);
        if (result < 0)
        {
            return $"err no process {request.Pid} (errno {-result})";
        }

        _supervisor.Command = request.Arguments ?? [];
        _ledger.DaemonCommand = _supervisor.Command;
        _ledger.Save();
        return $"ok {Environment.ProcessId}";
    }

    private string Goodbye()
    {
        _supervisor.Forget();
        _supervisor.Command = [];
        _ledger.DaemonCommand = [];
        _ledger.Save();
        return "ok";
    }

    private string Add(KeeperRequest request)
    {
        int process = PidfdOpen(request.Pid);
        if (process < 0)
        {
            return $"err no process {request.Pid}";
        }

        // Checked after pidfd_open: from here on the number cannot come to mean another process.
        int fd = KeeperFiles.StartTimeOf(request.Pid) == request.StartTime ? PidfdGetfd(process, request.Fd) : -ESRCH;
        _ = close(process);
        if (fd == -ESRCH)
        {
            return $"err process {request.Pid} did not start at {request.StartTime}";
        }

        if (fd < 0)
        {
            return $"err cannot take descriptor {request.Fd} of process {request.Pid} (errno {-fd})";
        }

        if (KeeperFiles.LinkOf(fd) != KeeperFiles.UserfaultfdLink)
        {
            _ = close(fd);
            return $"err descriptor {request.Fd} of process {request.Pid} is not a userfaultfd";
        }

        var target = new LedgerTarget(request.Pid, request.StartTime, request.Fd, _faults.Add(fd));
        if (!_ledger.Targets.Contains(target))
        {
            _ledger.Targets.Add(target);
            _ledger.Save();
        }

        return "ok";
    }

    private string Drop(int pid)
    {
        List<LedgerTarget> dropped = _ledger.Targets.FindAll(target => target.Pid == pid);
        foreach (LedgerTarget target in dropped)
        {
            _ledger.Targets.Remove(target);
            _faults.Remove(target.Identity);
        }

        if (dropped.Count == 0)
        {
            return $"err process {pid} is not held";
        }

        _ledger.Save();
        return "ok";
    }

    private string Store(KeeperRequest request)
    {
        int fd = KeeperFiles.Fetch(request.Pid, request.Fd);
        if (fd < 0)
        {
            return $"err cannot take descriptor {request.Fd} of process {request.Pid} (errno {-fd})";
        }

        if (!KeeperFiles.IsRegularFile(fd))
        {
            _ = close(fd);
            return $"err descriptor {request.Fd} of process {request.Pid} is not a store file";
        }

        if (_ledger.Stores.TryGetValue(request.Domain, out LedgerStore old))
        {
            _ = close(old.Fd);
        }

        _ledger.Stores[request.Domain] = new LedgerStore(request.Domain, fd, KeeperFiles.IdentityOf(fd));
        _ledger.Save();
        return "ok";
    }

    private string DropStore(string domain)
    {
        if (!_ledger.Stores.Remove(domain, out LedgerStore store))
        {
            return "err no such store";
        }

        _ = close(store.Fd);
        _ledger.Save();
        return "ok";
    }

    private string TakeStore(string domain) => _ledger.Stores.TryGetValue(domain, out LedgerStore store)
        ? $"ok {Environment.ProcessId} {store.Fd}" : "err no such store";

    private string StatePut(byte[] state)
    {
        _ledger.State = state;
        _ledger.Save();
        return "ok";
    }

    private string List()
    {
        var text = new StringBuilder("ok");
        foreach (LedgerTarget target in _ledger.Targets)
        {
            text.Append(CultureInfo.InvariantCulture, $" target={target.Pid},{target.StartTime},{target.TargetFd}");
        }

        foreach (string domain in _ledger.Stores.Keys)
        {
            text.Append(" store=").Append(Uri.EscapeDataString(domain));
        }

        foreach (string name in _ledger.Kept.Keys)
        {
            text.Append(" kept=").Append(Uri.EscapeDataString(name));
        }

        return text.Append(CultureInfo.InvariantCulture, $" descriptors={_faults.Count}").ToString();
    }

    private string Stats() => string.Create(CultureInfo.InvariantCulture,
        $"ok faults={_faults.Faults} pages={_faults.PagesFilled} wakes={_faults.Wakes} forks={_faults.Forks} ")
        + string.Create(CultureInfo.InvariantCulture,
        $"dropped={_faults.Dropped} descriptors={_faults.Count} allocated={GC.GetTotalAllocatedBytes()}");

    private void OnGone(FileIdentity identity)
    {
        if (_ledger.Targets.RemoveAll(target => target.Identity == identity) > 0)
        {
            _ledger.Save();
        }
    }
}
