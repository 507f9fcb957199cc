using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Host;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Interception;

/// <summary>A command to be watched over, as <c>samepage run</c> announces it just before its execve.</summary>
/// <param name="Pid">Process that will become the command.</param>
/// <param name="Descriptor">Number of the filter's listener in that process; -1 in a nested run, which has
/// none.</param>
/// <param name="Domain">Trust domain of all its processes; null for the one of each process's user.</param>
/// <param name="WholeProcess">Everything is registered from the start, as by PR_SET_MEMORY_MERGE.</param>
/// <param name="HandlesDevice">Ioctls of /dev/ksm come, too.</param>
/// <param name="DeviceNumber">File system of the placeholder of /dev/ksm (st_dev); 0 without one.</param>
/// <param name="DeviceInode">Inode number of the placeholder; 0 without one.</param>
public sealed record RunRequest(
    int Pid,
    int Descriptor,
    string? Domain,
    bool WholeProcess,
    bool HandlesDevice,
    ulong DeviceNumber,
    ulong DeviceInode);

/// <summary>A command as it is now.</summary>
/// <param name="Id">Its name, for as long as it runs.</param>
/// <param name="Domain">Trust domain; null for the one of each process's user.</param>
/// <param name="Processes">Processes known to belong to it.</param>
/// <param name="Calls">Calls answered by this daemon.</param>
public sealed record RunSummary(string Id, string? Domain, IReadOnlyList<int> Processes, long Calls);

/// <summary>
/// All commands under <c>samepage run</c>. Thread-safe; <see cref="TakeChanges"/> and what belongs to it is for the
/// engine's loop.
/// </summary>
public sealed class CommandRuns : IDisposable
{
    private const int RunsMax = 1024;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, CommandRun> _runs = new(StringComparer.Ordinal);
    private readonly IDescriptorKeeper _keeper;
    private readonly Action _changed;

    /// <summary>None yet.</summary>
    /// <param name="keeper">Holds what the next daemon needs.</param>
    /// <param name="changed">Called from any thread when there is something to take.</param>
    public CommandRuns(IDescriptorKeeper keeper, Action changed)
    {
        _keeper = keeper;
        _changed = changed;
    }

    /// <summary>True while there is a command.</summary>
    public bool Any
    {
        get
        {
            lock (_gate)
            {
                return _runs.Count > 0;
            }
        }
    }

    /// <summary>Takes a command under care and answers its calls from now on.</summary>
    /// <exception cref="TargetException">It cannot be.</exception>
    /// <exception cref="IOException">The keeper cannot be reached.</exception>
    public RunSummary Add(RunRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        return request.Descriptor < 0 ? AddNested(request) : AddOutermost(request);
    }

    /// <summary>Takes over what an earlier daemon has left with the keeper.</summary>
    /// <returns>What could not be taken over, a line each.</returns>
    public IReadOnlyList<string> TakeOver()
    {
        var problems = new List<string>();
        try
        {
            foreach (string name in _keeper.Kept())
            {
                if (name.Split(':') is ["run", var id, "listener"] && TryTakeOver(id) is { } problem)
                {
                    problems.Add(problem);
                }
            }
        }
        catch (IOException error)
        {
            problems.Add(error.Message);
        }

        return problems;
    }

    /// <summary>All commands.</summary>
    public IReadOnlyList<RunSummary> List() => [.. All().Select(Summary)];

    /// <summary>Domain of the command a process belongs to.</summary>
    /// <returns>False when it belongs to none.</returns>
    public bool TryFind(int pid, out string? domain)
    {
        CommandRun? run = All().FirstOrDefault(run => run.Processes.Contains(pid));
        domain = run?.Domain;
        return run is not null;
    }

    /// <summary>Notices what no call tells. For the loop, a few times a second.</summary>
    public void LookAround()
    {
        foreach (CommandRun run in All())
        {
            if (run.HasEnded || run.Listener.HasEnded)
            {
                lock (_gate)
                {
                    _runs.Remove(run.Id);
                }

                run.End();
            }
            else
            {
                run.LookAround();
            }
        }
    }

    /// <summary>What the loop has to carry out, with the domain of each process.</summary>
    public IReadOnlyList<(string Run, string? Domain, RunChange Change)> TakeChanges() =>
        [.. All().Where(run => !run.HasEnded)
            .SelectMany(run => run.TakeChanges().Select(change => (run.Id, run.Domain, change)))];

    /// <summary>A change has been carried out (or its process could not be attached).</summary>
    public void Done(string run, RunChange change, bool attached)
    {
        ArgumentNullException.ThrowIfNull(change);
        Find(run)?.Done(change, attached);
    }

    /// <summary>The memory of an attached process has gone; the process may go on with another program.</summary>
    /// <param name="pid">Process id.</param>
    public void Lost(int pid) => All().ForEach(run => run.Lost(pid));

    /// <summary>Lets go here; the keeper goes on holding everything for the next daemon.</summary>
    public void Dispose()
    {
        // The threads stand in the kernel and end with the process; what they use is not pulled away from under them.
    }

    private List<CommandRun> All()
    {
        lock (_gate)
        {
            return [.. _runs.Values];
        }
    }

    private CommandRun? Find(string id)
    {
        lock (_gate)
        {
            return _runs.GetValueOrDefault(id);
        }
    }

    private static RunSummary Summary(CommandRun run) => new(run.Id, run.Domain, run.Processes, run.Calls);

    private RunSummary AddOutermost(RunRequest request)
    {
        if (All().Count >= RunsMax)
        {
            throw new TargetException(
                TargetError.Refused, $"{RunsMax} commands run under samepage already", request.Pid);
        }

        string id = string.Create(
            CultureInfo.InvariantCulture, $"{request.Pid}-{ProcessFacts.StartTime(request.Pid) ?? 0}");
        var notes = CallNotes.Create(request.Domain, request.HandlesDevice);
        if (request.DeviceInode != 0)
        {
            _ = notes.AddDevice(new DeviceIdentity(request.DeviceNumber, request.DeviceInode));
        }

        var run = new CommandRun(id, new CallListener(TakeListener(request)), notes, null, _keeper, _changed);
        try
        {
            run.Begin(request.Pid, request.WholeProcess);
            run.KeepAll();
        }
        catch
        {
            run.End();
            run.Dispose(); // its thread has not been started
            throw;
        }

        lock (_gate)
        {
            _runs[id] = run;
        }

        run.Start();
        return Summary(run);
    }

    private RunSummary AddNested(RunRequest request)
    {
        int pid = request.Pid;
        CommandRun? outer = null;
        for (int i = 0; i < 64 && pid > 1 && outer is null; i++)
        {
            outer = All().FirstOrDefault(run => run.Processes.Contains(pid));
            pid = ProcessFacts.Parent(pid) ?? 0;
        }

        if (outer is null)
        {
            throw new TargetException(
                TargetError.Refused,
                "another program watches the system calls of this process already (seccomp): run cannot do so, too",
                request.Pid);
        }

        if (request.WholeProcess)
        {
            outer.RegisterWhole(request.Pid);
        }

        if (request.DeviceInode == 0)
        {
            return Summary(outer);
        }

        if (!outer.HandlesDevice)
        {
            throw new TargetException(
                TargetError.Refused, "the samepage run around this one was started without --dev-ksm: give it there",
                request.Pid);
        }

        return outer.AddDevice(new DeviceIdentity(request.DeviceNumber, request.DeviceInode))
            ? Summary(outer)
            : throw new TargetException(
                TargetError.Refused, $"at most {CallNotes.DevicesMax} runs with --dev-ksm can be nested", request.Pid);
    }

    private static SafeFileHandle TakeListener(RunRequest request)
    {
        using ProcessIdentity process = ProcessIdentity.Open(request.Pid);
        SafeFileHandle listener = process.TakeDescriptor(request.Descriptor);
        if (Keeper.KeeperFiles.LinkOf((int)listener.DangerousGetHandle()) == Keeper.KeeperFiles.ListenerLink)
        {
            return listener;
        }

        listener.Dispose();
        throw new TargetException(
            TargetError.Usage, $"descriptor {request.Descriptor} of process {request.Pid} is not a seccomp listener",
            request.Pid);
    }

    private string? TryTakeOver(string id)
    {
        string Name(string what) => $"run:{id}:{what}";
        SafeFileHandle? listener = _keeper.TakeKept(Name("listener"));
        SafeFileHandle? notesFile = _keeper.TakeKept(Name("notes"));
        SafeFileHandle? journalFile = _keeper.TakeKept(Name("journal"));
        if (listener is null || notesFile is null || CallNotes.TryOpen(notesFile) is not { } notes)
        {
            return $"run {id} is not complete at the keeper";
        }

        RunJournal? journal = journalFile is null ? null : RunJournal.TryOpen(journalFile);
        var run = new CommandRun(id, new CallListener(listener), notes, journal, _keeper, _changed);
        run.TakeOverAreas();
        lock (_gate)
        {
            _runs[id] = run;
        }

        run.Start();
        return journal is null ? $"run {id} has lost what it had registered" : null;
    }
}
