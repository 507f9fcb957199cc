using Samepage.Linux.Host;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Interception;

/// <summary>What the daemon's registration of one process is to become.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Registered">Pages, null for everything.</param>
/// <param name="Unmerges">Pages may be merged that are not registered any more.</param>
/// <param name="Notes">Callers that wait until they are not.</param>
public sealed record RunChange(
    int Pid, IReadOnlyList<PageRange>? Registered, bool Unmerges, IReadOnlyList<int> Notes);

/// <summary>
/// One command under <c>samepage run</c> with everything it starts: a thread answers its calls as they come, and the
/// engine's loop fetches what is to change. Answers never wait for the loop, with one exception: who un-registers
/// memory that may be merged gets his answer when it is not merged any more.
/// </summary>
internal sealed class CommandRun : IDisposable
{
    // A child is attached when it has been seen twice: most only live for a moment, or until their execve.
    private const int LooksBeforeAttach = 2;
    private const int FailedAttemptsMax = 3;
    private const int StackBytes = 256 << 10;

    private readonly Lock _gate = new();
    private readonly CallListener _listener;
    private readonly CallNotes _notes;
    private readonly RunState _state;
    private readonly IDescriptorKeeper _keeper;
    private readonly Action _changed;
    private readonly KsmDevice _device;
    private readonly bool[] _busy = new bool[CallNotes.Count];
    private readonly List<(int Note, int Pid)> _waiting = [];
    private readonly HashSet<int> _unmerging = [];
    private readonly List<PageRange> _parts = [];
    private bool _isOver;

    internal CommandRun(
        string id,
        CallListener listener,
        CallNotes notes,
        RunJournal? journal,
        IDescriptorKeeper keeper,
        Action changed)
    {
        Id = id;
        _listener = listener;
        _notes = notes;
        _keeper = keeper;
        _changed = changed;
        _state = new RunState(journal, replaced => keeper.Keep(NameOf("journal"), replaced.File));
        _device = new KsmDevice(this, _state, notes, keeper);
    }

    internal string Id { get; }

    /// <summary>Trust domain; null for the one of each process's user.</summary>
    internal string? Domain => _notes.Domain;

    internal bool HandlesDevice => _notes.HandlesDevice;

    /// <summary>Every process of the command has ended.</summary>
    internal bool HasEnded { get; private set; }

    /// <summary>Calls answered since this daemon has it.</summary>
    internal long Calls { get; private set; }

    internal CallListener Listener => _listener;

    /// <summary>Processes seen and not known to have ended.</summary>
    internal IReadOnlyList<int> Processes
    {
        get
        {
            lock (_gate)
            {
                return [.. _state.Processes.Select(process => process.Pid).Order()];
            }
        }
    }

    internal string NameOf(string what) => $"run:{Id}:{what}";

    /// <summary>Has everything kept that the next daemon needs.</summary>
    internal void KeepAll()
    {
        _keeper.Keep(NameOf("notes"), _notes.File);
        _keeper.Keep(NameOf("journal"), _state.Journal.File);
        _keeper.Keep(NameOf("listener"), _listener.Descriptor);
    }

    /// <summary>The process that is about to become the command.</summary>
    internal void Begin(int pid, bool wholeProcess)
    {
        lock (_gate)
        {
            if (_state.Appear(pid, null) is { } first)
            {
                // Its memory until its execve is not the command's: the open mappings show when that happens.
                first.Areas = MappedAreas.TryOpen(pid);
                first.IsPrelude = true;
                if (wholeProcess)
                {
                    _state.Do(new RunEntry(RunEvent.RegisterAll, pid, 1, 0, 0));
                }
            }
        }
    }

    /// <summary>A nested run registers everything of the process that is about to become its command.</summary>
    internal void RegisterWhole(int pid)
    {
        lock (_gate)
        {
            if (_state.Of(pid) is { } process)
            {
                _state.Do(new RunEntry(RunEvent.RegisterAll, process.Pid, 1, 0, 0));
            }
        }
    }

    /// <summary>A nested run has a placeholder of its own.</summary>
    internal bool AddDevice(DeviceIdentity identity)
    {
        lock (_gate)
        {
            return _notes.AddDevice(identity);
        }
    }

    /// <summary>Takes up the shared memory areas an earlier daemon has left.</summary>
    internal void TakeOverAreas()
    {
        lock (_gate)
        {
            _device.TakeOver();
            foreach (RunProcess process in _state.Processes)
            {
                process.IsChanged = true;
                process.WasAttached = true;
            }
        }
    }

    /// <summary>Starts answering; first what an earlier daemon received and did not answer.</summary>
    internal void Start()
    {
        _listener.WakeOnSameProcessor();
        new Thread(Serve, StackBytes) { IsBackground = true, Name = "samepage-run" }.Start();
    }

    /// <summary>Notices children, ends, other programs and closed areas; for the loop, a few times a second.</summary>
    internal void LookAround()
    {
        List<int> known, parents;
        lock (_gate)
        {
            known = [.. _state.Processes.Select(process => process.Pid)];
            // Whose parent has nothing registered has nothing to inherit, and is found at its first call.
            parents = [.. _state.Processes.Where(process => process.HasRegistered).Select(process => process.Pid)];
        }

        var children = parents.ToDictionary(pid => pid, ProcessFacts.Children);
        lock (_gate)
        {
            foreach (int pid in known)
            {
                if (_state.Find(pid) is { } process && _state.IsSame(process))
                {
                    AddChildren(process, children.GetValueOrDefault(pid, []));
                    process.Looks++;
                    process.IsChanged |= process.Looks == LooksBeforeAttach && process.HasRegistered;
                    DropUnmapped(process);
                }
            }

            _device.DropClosed();
        }
    }

    /// <summary>What the engine's loop has to do. Each change is handed out once.</summary>
    internal IReadOnlyList<RunChange> TakeChanges()
    {
        lock (_gate)
        {
            var changes = new List<RunChange>();
            foreach (RunProcess process in _state.Processes)
            {
                bool waits = _waiting.Exists(waiting => waiting.Pid == process.Pid);
                bool isWorthIt = !process.IsPrelude && (process.Looks >= LooksBeforeAttach || process.HasAsked);
                if ((process.IsChanged && isWorthIt) || waits)
                {
                    process.IsChanged = false;
                    changes.Add(Change(process));
                }
            }

            // Whoever waits for a process that has gone meanwhile is gone, too.
            foreach ((int note, _) in _waiting)
            {
                Finish(note, new CallAnswer(0));
            }

            _waiting.Clear();
            return changes;
        }
    }

    /// <summary>The loop has carried a change out, or could not attach the process.</summary>
    internal void Done(RunChange change, bool attached)
    {
        lock (_gate)
        {
            if (_state.Find(change.Pid) is { } process)
            {
                process.WasAttached |= attached;
                process.FailedAttempts = attached ? 0 : process.FailedAttempts + 1;
                process.IsChanged |= !attached && process.HasRegistered && process.FailedAttempts < FailedAttemptsMax;
            }

            foreach (int note in change.Notes)
            {
                Finish(note, new CallAnswer(0));
            }
        }
    }

    /// <summary>The memory of an attached process has gone: what its next program registered is to follow.</summary>
    internal void Lost(int pid)
    {
        lock (_gate)
        {
            if (_state.Find(pid) is { } process && _state.IsSame(process))
            {
                process.IsChanged |= process.HasRegistered;
            }
        }
    }

    /// <summary>Lets go of everything, here and at the keeper.</summary>
    internal void End()
    {
        lock (_gate)
        {
            try
            {
                foreach (string name in (string[])["listener", "notes", "journal", .. _device.KeptNames()])
                {
                    _keeper.LetGo(NameOf(name));
                }
            }
            catch (IOException)
            {
                // A keeper that is gone has let go.
            }

            _isOver = true;
            DisposeWhenOver();
        }
    }

    public void Dispose()
    {
        _device.Dispose();
        _listener.Dispose();
        _state.Dispose();
        _notes.Dispose();
    }

    /// <summary>What the caller is to be told when memory is un-registered: at once where nothing can be
    /// merged.</summary>
    internal CallAnswer AfterUnregistering(RunProcess process, int note)
    {
        if (!process.WasAttached && !process.IsBeingAttached)
        {
            return new CallAnswer(0);
        }

        _unmerging.Add(process.Pid);
        _waiting.Add((note, process.Pid));
        return CallAnswer.Later;
    }

    /// <summary>Has the loop un-merge what is not registered any more, without anybody waiting for it.</summary>
    internal void UnmergeLater(RunProcess process)
    {
        process.IsChanged = true;
        process.HasAsked = true;
        _unmerging.Add(process.Pid);
    }

    private RunChange Change(RunProcess process)
    {
        int[] notes = [.. _waiting.Where(waiting => waiting.Pid == process.Pid).Select(waiting => waiting.Note)];
        _waiting.RemoveAll(waiting => waiting.Pid == process.Pid);
        process.IsBeingAttached = true;
        return new RunChange(process.Pid, process.Registered(), _unmerging.Remove(process.Pid), notes);
    }

    private void Finish(int note, CallAnswer answer)
    {
        _listener.Answer(_notes.Read(note).Id, answer);
        _busy[note] = false;
    }

    private void AddChildren(RunProcess process, IReadOnlyList<int> children)
    {
        foreach (int child in children)
        {
            // In a child of vfork, the memory is still the parent's.
            if (_state.Find(child) is null && !process.IsPrelude && !CallerFacts.ShareMemory(child, process.Pid))
            {
                _ = _state.Appear(child, process);
            }
        }
    }

    // Registrations belong to mappings, and what is mapped later at the same address is another mapping.
    private void DropUnmapped(RunProcess process)
    {
        foreach (PageSet set in (PageSet[])[process.Advised, process.Excepted])
        {
            foreach (PageRange span in set.Spans.ToList())
            {
                if (process.Areas!.Walk(span, _parts) != Errno.ENOMEM)
                {
                    continue;
                }

                var mapped = new PageSet();
                _parts.ForEach(part => mapped.Add(part));
                RunEvent drop = set == process.Advised ? RunEvent.Unregister : RunEvent.Register;
                foreach (PageRange gap in mapped.Gaps(span.End).Select(gap => gap.Intersect(span)))
                {
                    if (!gap.IsEmpty)
                    {
                        _state.Do(new RunEntry(drop, process.Pid, gap.Start, gap.End, 0));
                    }
                }
            }
        }
    }

    private void Serve()
    {
        for (int note = 0; note < CallNotes.Count; note++)
        {
            lock (_gate)
            {
                _busy[note] = _notes.Read(note).Id != 0 && _listener.IsWaiting(_notes.Read(note).Id);
                if (_busy[note])
                {
                    Answer(note);
                }
            }
        }

        while (true)
        {
            int note = FreeNote();
            if (!_listener.Receive(_notes, note))
            {
                break;
            }

            lock (_gate)
            {
                _busy[note] = true;
                Answer(note);
            }
        }

        lock (_gate)
        {
            HasEnded = true;
            DisposeWhenOver();
        }

        _changed();
    }

    // Not while the thread may be about to use it all: before Linux 6.11 it does not wake up when the last process
    // ends.
    private void DisposeWhenOver()
    {
        if (HasEnded && _isOver)
        {
            Dispose();
        }
    }

    private int FreeNote()
    {
        while (true)
        {
            lock (_gate)
            {
                int note = Array.IndexOf(_busy, false);
                if (note >= 0)
                {
                    return note;
                }
            }

            Thread.Sleep(1); // sixteen callers wait for an un-merge: the next can wait for them
        }
    }

    private void Answer(int note)
    {
        InterceptedCall call = _notes.Read(note);
        CallAnswer answer;
        try
        {
            answer = Decide(call, note);
        }
#pragma warning disable CA1031 // A call that ended the daemon would end the next one, too, which finds it unanswered.
        catch (Exception)
#pragma warning restore CA1031
        {
            // The keeper cannot be reached, or there is no memory: as when the kernel lacks resources.
            answer = new CallAnswer(-Errno.EAGAIN);
        }

        Calls++;
        if (answer.Kind is CallAnswerKind.Value or CallAnswerKind.NotOurs)
        {
            _listener.Answer(call.Id, answer);
        }

        _busy[note] = answer.Kind == CallAnswerKind.Later;
        if (_waiting.Count > 0 || _state.Processes.Any(process => process.IsChanged && process.HasAsked))
        {
            _changed();
        }
    }

    private CallAnswer Decide(in InterceptedCall call, int note)
    {
        if (call.Number == KsmCalls.SYS_ioctl)
        {
            return _device.Ioctl(call, note);
        }

        // A caller in a pid namespace that this daemon cannot see into: as on a kernel without KSM.
        if (call.Thread == 0 || _state.Of(call.Thread) is not { } process)
        {
            return new CallAnswer(-Errno.EINVAL);
        }

        return call.Number == KsmCalls.SYS_madvise ? Advise(process, call, note) : Control(process, call, note);
    }

    // madvise(address, length, MADV_MERGEABLE or MADV_UNMERGEABLE): checks and results in the kernel's order
    // (madvise_should_skip and madvise_walk_vmas in mm/madvise.c, ksm_madvise in mm/ksm.c).
    private CallAnswer Advise(RunProcess process, in InterceptedCall call, int note)
    {
        ulong start = call.A0;
        ulong length = (call.A1 + PageSize.Bytes - 1) & ~(ulong)(PageSize.Bytes - 1);
        if (start % PageSize.Bytes != 0 || (call.A1 != 0 && length == 0) || start + length < start)
        {
            return new CallAnswer(-Errno.EINVAL);
        }

        if (length == 0)
        {
            return new CallAnswer(0);
        }

        int errno = process.Areas!.Walk(PageRange.FromAddresses(start, start + length), _parts);
        bool unregistered = false;
        foreach (PageRange part in _parts)
        {
            if ((int)call.A2 == KsmCalls.MADV_MERGEABLE)
            {
                _state.Do(new RunEntry(RunEvent.Register, process.Pid, part.Start, part.End, 0));
            }
            else if (process.HasAnyOf(part))
            {
                unregistered = true;
                _state.Do(new RunEntry(
                    process.IsWhole ? RunEvent.Except : RunEvent.Unregister, process.Pid, part.Start, part.End, 0));
            }
        }

        process.HasAsked |= process.IsChanged;
        if (!unregistered || errno != 0)
        {
            if (unregistered)
            {
                UnmergeLater(process);
            }

            return new CallAnswer(-errno);
        }

        return AfterUnregistering(process, note);
    }

    // prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0) and prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0), kernel/sys.c.
    private CallAnswer Control(RunProcess process, in InterceptedCall call, int note)
    {
        bool sets = (int)call.A0 == KsmCalls.PR_SET_MEMORY_MERGE;
        if ((call.A2 | call.A3 | call.A4) != 0 || (!sets && call.A1 != 0))
        {
            return new CallAnswer(-Errno.EINVAL);
        }

        if (!sets)
        {
            return new CallAnswer(process.IsWhole ? 1 : 0);
        }

        bool wasWhole = process.IsWhole;
        _state.Do(new RunEntry(RunEvent.RegisterAll, process.Pid, call.A1 == 0 ? 0ul : 1, 0, 0));
        process.HasAsked |= process.IsChanged;
        return wasWhole && call.A1 == 0 ? AfterUnregistering(process, note) : new CallAnswer(0);
    }
}
