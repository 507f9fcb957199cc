using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Memory;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;
using Samepage.Linux.Store;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <summary>
/// A live process: what can be seen of it from outside (mappings, page states, bytes), and, in
/// LiveTarget.Execute.cs, what is done inside it. Used by the engine's loop only.
/// </summary>
public sealed partial class LiveTarget : ITarget, IDisposable
{
    private readonly LiveMachine _machine;
    private readonly TracerThread _tracer;
    private readonly ProcessIdentity _process;
    private readonly ControlArea _control;
    private readonly SafeFileHandle _tracking;
    private readonly SafeFileHandle _merged;
    private readonly SafeFileHandle _storeInTarget;
    private readonly TmpfsStore _store;
    private readonly VmaClassifier _classifier;
    private readonly PagemapScanner _scanner;
    private readonly SafeFileHandle _tasks;
    private readonly ProcBuffer _buffer = new();
    private readonly PageRange[] _own;
    private readonly List<PageRange> _unseen = [];
    private List<PageRange> _tracked = [];
    private ProcessStatm _lastStatm;
    private long _nextFullLook, _nextFlagLook;
    private bool _gone;

    private LiveTarget(
        LiveMachine machine,
        TracerThread tracer,
        ProcessIdentity process,
        Adoption adoption,
        ControlArea control,
        TmpfsStore store)
    {
        _machine = machine;
        _tracer = tracer;
        _process = process;
        _parents = new ParentThreads(process);
        _control = control;
        _store = store;
        Domain = adoption.Domain;
        Ranges = adoption.Ranges;
        _tracking = process.TakeDescriptor((int)control.Header(ControlLayout.TrackingFd));
        _merged = process.TakeDescriptor((int)control.Header(ControlLayout.MergedFd));
        _storeInTarget = TakeStore(process, (int)control.Header(ControlLayout.StoreFd), store);
        _classifier = new VmaClassifier(process.Proc);
        _scanner = PagemapScanner.Open(process.Proc);
        _filterCount = process.Proc.TryReadStatus(_buffer, out ProcessStatus status) ? status.SeccompFilterCount : -1;
        _tasks = process.Proc.Open("task", out _, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY);
        _own = new PageRange[3];
        NameOwnAreas();
        DaemonMark.Write(control, machine.Options.Home);
    }

    /// <inheritdoc/>
    public int Pid => _process.Pid;

    /// <inheritdoc/>
    public string Name => _process.Name;

    /// <summary>Its trust domain.</summary>
    public string Domain { get; }

    /// <summary>The ranges asked for; null = everything.</summary>
    public IReadOnlyList<PageRange>? Ranges { get; private set; }

    /// <inheritdoc/>
    public bool IsAlive => !_gone && (_process.HasSameMemory || Fail());

    /// <inheritdoc/>
    public int VmaCount => _classifier.Table.VmaCount;

    /// <inheritdoc/>
    public IReadOnlyList<PageRange> Regions => _classifier.Table.Regions;

    /// <inheritdoc/>
    public ReadOnlySpan<long> NotMergedPages => _classifier.Table.NotMergedPages;

    internal ControlArea Control => _control;

    internal static LiveTarget Attach(
        LiveMachine machine, ProcessIdentity process, string domain, IReadOnlyList<PageRange>? ranges)
    {
        CheckRequest(process.Pid, domain, ranges);
        LiveTarget? adopted = TryAdopt(machine, process, domain);
        LiveTarget target = adopted ?? Inject(machine, process, new Adoption(domain, ranges));
        try
        {
            machine.Options.Keeper.Add(
                process.Pid, process.StartTicks, (int)target._control.Header(ControlLayout.MergedFd));
            _ = target.RefreshRegions(force: true);
            // What was there when an earlier daemon checked may be gone by now; that is no mistake of anybody's.
            target.CheckRanges(adopted is null ? ranges ?? [] : []);
            return target;
        }
        catch
        {
            _ = target.Leave();
            target.DisposeOwn();
            throw;
        }
    }

    private static void CheckRequest(int pid, string domain, IReadOnlyList<PageRange>? ranges)
    {
        int bytes = System.Text.Encoding.UTF8.GetByteCount(domain);
        if (bytes is 0 or > Adoption.DomainBytesMax)
        {
            throw new TargetException(
                TargetError.Usage, $"the domain name has {bytes} bytes: give 1 to {Adoption.DomainBytesMax}", pid);
        }

        if (ranges?.Count > Adoption.RangesMax)
        {
            throw new TargetException(
                TargetError.Usage, $"{ranges.Count} ranges are too many: at most {Adoption.RangesMax}", pid);
        }

        foreach (PageRange range in ranges ?? [])
        {
            if (range.IsEmpty)
            {
                throw new TargetException(TargetError.Usage, $"the range {range} is empty: its end must be after its start", pid);
            }
        }
    }

    private static LiveTarget? TryAdopt(LiveMachine machine, ProcessIdentity process, string domain)
    {
        if (Adoption.FindControl(process.Proc) is not { } number)
        {
            return null;
        }

        ControlArea? control = ControlArea.Adopt(process.TakeDescriptor(number));
        if (control is null)
        {
            return null;
        }

        if (DaemonMark.LivingOther(control) is { } other)
        {
            control.Dispose();
            throw new TargetException(
                TargetError.Refused, $"process {process.Pid} is attached to another daemon, process {other}", process.Pid);
        }

        byte[] record = new byte[ControlLayout.AdoptionBytes];
        System.Runtime.InteropServices.Marshal.Copy(control.Address + ControlLayout.Adoption, record, 0, record.Length);
        if (Adoption.Parse(record) is not { } adoption)
        {
            control.Dispose();
            return null;
        }

        if (adoption.Domain != domain)
        {
            control.Dispose();
            throw new TargetException(
                TargetError.Usage,
                $"process {process.Pid} has memory merged in domain {adoption.Domain}: attach it there, or detach it first",
                process.Pid);
        }

        TmpfsStore store = machine.Store(adoption.Domain, process, (int)control.Header(ControlLayout.StoreFd));
        var target = new LiveTarget(machine, machine.TakeTracer(), process, adoption, control, store);
        // Whatever userfaultfd flags its mappings have are ours, from before.
        target._tracked = [new PageRange(0, 1ul << 35)];
        target._unseen.Add(new PageRange(0, 1ul << 35));
        target._storeWindow.TouchAll(target.StoreWindow);
        return target;
    }

    private static LiveTarget Inject(LiveMachine machine, ProcessIdentity process, Adoption adoption)
    {
        TmpfsStore store = machine.Store(adoption.Domain);
        var control = ControlArea.Create();
        TracerThread tracer = machine.TakeTracer();
        LiveTarget? target = null;
        try
        {
            adoption.Write(control);
            control.SetHeader(ControlLayout.TargetPid, (ulong)process.Pid);
            control.SetHeader(ControlLayout.TargetStartTicks, process.StartTicks);
            int descriptor = (int)store.ReadOnlyDescriptor.DangerousGetHandle();
            tracer.Run(_ =>
            {
                new Bootstrap(process, control, descriptor).Run();
                return 0;
            });
            target = new LiveTarget(machine, tracer, process, adoption, control, store);
            target.FinishInjection();
            return target;
        }
        catch
        {
            _ = target?.Leave();
            target?.DisposeOwn();
            control.Dispose();
            throw;
        }
    }

    private void FinishInjection()
    {
        UserfaultfdCalls.Handshake(_tracking, Userfaultfd.UFFD_FEATURE_WP_ASYNC | Userfaultfd.UFFD_FEATURE_MOVE);
        UserfaultfdCalls.Handshake(
            _merged,
            Userfaultfd.UFFD_FEATURE_WP_ASYNC | Userfaultfd.UFFD_FEATURE_EVENT_FORK | Userfaultfd.UFFD_FEATURE_EVENT_REMAP
                | Userfaultfd.UFFD_FEATURE_MINOR_SHMEM | Userfaultfd.UFFD_FEATURE_MISSING_SHMEM
                | Userfaultfd.UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
        if (LocksFutureMappings())
        {
            throw new TargetException(
                TargetError.Refused, $"process {Pid} locks all memory it maps (mlockall): merging would undo that", Pid);
        }

        Bootstrap.WriteAreaOperations(_control);
        WindowStatus status = RunOne();
        if (status != WindowStatus.Done)
        {
            throw new TargetException(TargetError.Refused, $"process {Pid} could not be prepared ({status}); try again", Pid);
        }

        foreach (int offset in (ReadOnlySpan<int>)[ControlLayout.Shadow, ControlLayout.Window])
        {
            if ((long)_control.Header(offset) is < 0 and > -4096)
            {
                throw new TargetException(
                    TargetError.Refused, $"process {Pid} has no address space left for merging (ulimit -v?)", Pid);
            }
        }

        NameOwnAreas();
        int errno = UserfaultfdCalls.Register(
            _tracking, Area(ControlLayout.Shadow, Bootstrap.ShadowBytes),
            Userfaultfd.UFFDIO_REGISTER_MODE_MISSING | Userfaultfd.UFFDIO_REGISTER_MODE_WP);
        if (errno != 0)
        {
            throw new KernelException("register the shadow area", errno);
        }
    }

    /// <summary>True when our own first mapping came out locked.</summary>
    private bool LocksFutureMappings()
    {
        if (_process.Proc.Read("status", _buffer) == 0 && _buffer.Text.IndexOf("VmLck:\t       0 kB"u8) >= 0)
        {
            return false;
        }

        if (_process.Proc.Read("smaps", _buffer) != 0)
        {
            return true;
        }

        ulong start = _control.TargetBase >> PageSize.Shift;
        var parser = new SmapsParser(_buffer.Text);
        while (parser.TryNext(out SmapsEntry entry))
        {
            if (entry.Map.Pages.Contains(start))
            {
                return (entry.Flags & VmFlags.Locked) != 0;
            }
        }

        return true;
    }

    /// <summary>Other ranges are asked for from now on: checked, and kept for the next daemon.</summary>
    /// <exception cref="TargetException">Too many, or there is no memory in <paramref name="added"/>.</exception>
    internal void SetRanges(IReadOnlyList<PageRange> ranges, PageRange? added)
    {
        AwaitStarted();
        CheckRequest(Pid, Domain, ranges);
        if (added is { } range)
        {
            _ = RefreshRegions(force: true);
            CheckRanges([range]);
        }

        Ranges = ranges;
        new Adoption(Domain, ranges).Write(_control);
    }

    private void CheckRanges(IReadOnlyList<PageRange> ranges)
    {
        foreach (PageRange range in ranges)
        {
            ulong at = range.Start;
            foreach (ref readonly VmaSegment segment in _classifier.Table.Segments)
            {
                if (segment.Range.Contains(at))
                {
                    at = Math.Min(segment.Range.End, range.End);
                }
            }

            if (at < range.End)
            {
                throw new TargetException(
                    TargetError.NoSuchRegion,
                    $"process {Pid} has no memory at {at << PageSize.Shift:x}, in the range {range}: see /proc/{Pid}/maps", Pid);
            }
        }
    }

    private void NameOwnAreas()
    {
        _own[0] = Area(ControlLayout.Base, ControlLayout.TotalBytes);
        _own[1] = Area(ControlLayout.Shadow, Bootstrap.ShadowBytes);
        _own[2] = Area(ControlLayout.Window, Bootstrap.WindowBytes);
        Array.Sort(_own, (a, b) => a.Start.CompareTo(b.Start));
    }

    private PageRange Area(int header, ulong bytes)
    {
        ulong start = _control.Header(header);
        return PageRange.FromAddresses(start, start + bytes);
    }

    private bool Fail()
    {
        _gone = true;
        return false;
    }

    /// <inheritdoc/>
    public bool RefreshRegions(bool force)
    {
        AwaitStarted();
        if (!IsAlive || !_process.Proc.TryReadStatm(_buffer, out ProcessStatm statm))
        {
            return false;
        }

        long now = Stopwatch.GetTimestamp();
        if (!force && now < _nextFullLook && statm.Size == _lastStatm.Size)
        {
            return false;
        }

        // Flags that the application changes in place (mlock, MADV_DONTFORK) show in smaps only, which is slow to read.
        force |= now >= _nextFlagLook;
        bool changed = _classifier.Refresh(
            new VmaRules { Store = _store.Identity, Own = _own, Tracked = _tracked }, force);
        TrackRegions();
        _lastStatm = statm;
        // A look at many mappings takes long; it may take about one percent of the time.
        long took = Stopwatch.GetTimestamp() - now;
        long interval = (long)(_machine.Options.FullLookInterval.TotalSeconds * Stopwatch.Frequency);
        _nextFullLook = Stopwatch.GetTimestamp() + Math.Max(interval, took * 100);
        _nextFlagLook = force ? Stopwatch.GetTimestamp() + Math.Max(interval * 10, took * 1000) : _nextFlagLook;
        return changed;
    }

    /// <summary>Registers what is to be merged for write tracking. Registering again what is registered is cheap.</summary>
    private void TrackRegions()
    {
        bool all = _tracked.Count == 0 || _tracked[0].End == 1ul << 35;
        foreach (ref readonly VmaSegment segment in _classifier.Table.Segments)
        {
            if (segment.Kind == SegmentKind.Anonymous && (all || !IsTracked(segment.Range)))
            {
                _ = UserfaultfdCalls.Register(_tracking, segment.Range, Userfaultfd.UFFDIO_REGISTER_MODE_WP);
            }
            else if (segment.Kind == SegmentKind.Merged && !all && !IsTracked(segment.Range))
            {
                // Moved there by mremap, its registration with it: what was listed at the old address is not listed anew.
                _unseen.Add(segment.Range);
            }
        }

        _tracked = [.. _classifier.Table.Regions];
    }

    private bool IsTracked(PageRange range)
    {
        foreach (PageRange tracked in _tracked)
        {
            if (tracked.Start <= range.Start && range.End <= tracked.End)
            {
                return true;
            }
        }

        return false;
    }

    /// <inheritdoc/>
    public int Scan(ref ulong cursor, ulong end, Span<PageRange> runs)
    {
        int total = 0;
        for (int attempts = 0; cursor < end && total < runs.Length && attempts < 1000; attempts++)
        {
            ScanStatus status = Look(ref cursor, end, runs[total..], out int count);
            total += count;
            if (status == ScanStatus.Gone)
            {
                _ = Fail();
                cursor = end;
                return 0;
            }

            if (status == ScanStatus.Done)
            {
                if (_unseen.Count == 0)
                {
                    break;
                }

                continue;
            }

            SkipUntracked(ref cursor, end, attempts);
        }

        return total;
    }

    /// <summary>
    /// What changed; but in memory that an earlier daemon has looked at and this one has not, everything that is there:
    /// the kernel remembers only who looked last, not who he was.
    /// </summary>
    private ScanStatus Look(ref ulong cursor, ulong end, Span<PageRange> runs, out int count)
    {
        ulong start = cursor;
        int index = _unseen.Count == 0 ? -1 : _unseen.FindIndex(range => range.End > start && range.Start < end);
        if (index < 0)
        {
            return _scanner.Changed(ref cursor, end, runs, out count);
        }

        PageRange unseen = _unseen[index];
        if (unseen.Start > cursor)
        {
            return _scanner.Changed(ref cursor, unseen.Start, runs, out count);
        }

        ScanStatus status = _scanner.Everything(ref cursor, Math.Min(end, unseen.End), runs, out count);
        _unseen.RemoveAt(index);
        if (unseen.Start < start)
        {
            _unseen.Add(new PageRange(unseen.Start, start));
        }

        if (cursor < unseen.End)
        {
            _unseen.Add(new PageRange(cursor, unseen.End));
        }

        return status;
    }

    /// <summary>The cursor stands at (or before) a mapping that is not tracked: track it, or pass it by.</summary>
    private void SkipUntracked(ref ulong cursor, ulong end, int attempts)
    {
        AwaitStarted();
        if (attempts == 0)
        {
            _tracked = [];
            _ = _classifier.Refresh(new VmaRules { Store = _store.Identity, Own = _own, Tracked = _tracked }, force: true);
            TrackRegions();
        }

        int index = _classifier.Table.IndexOf(cursor);
        ReadOnlySpan<VmaSegment> segments = _classifier.Table.Segments;
        for (; index < segments.Length && segments[index].Range.Start < end; index++)
        {
            ref readonly VmaSegment segment = ref segments[index];
            if (segment.Kind == SegmentKind.Anonymous
                && UserfaultfdCalls.Register(_tracking, segment.Range, Userfaultfd.UFFDIO_REGISTER_MODE_WP) == 0)
            {
                cursor = Math.Max(cursor, segment.Range.Start);
                return;
            }

            if (segment.Kind == SegmentKind.Merged)
            {
                return;
            }

            cursor = Math.Min(segment.Range.End, end);
        }

        cursor = end;
    }

    /// <inheritdoc/>
    public int ScanShared(ref ulong cursor, ulong end, Span<SharedRun> runs)
    {
        AwaitStarted();
        int total = 0;
        Span<PageRange> found = stackalloc PageRange[64];
        ReadOnlySpan<VmaSegment> segments = _classifier.Table.Segments;
        int index = _classifier.Table.IndexOf(cursor);
        while (cursor < end && total < runs.Length)
        {
            while (index < segments.Length && (segments[index].Kind != SegmentKind.Merged || segments[index].Range.End <= cursor))
            {
                index++;
            }

            if (index == segments.Length || segments[index].Range.Start >= end)
            {
                cursor = end;
                break;
            }

            VmaSegment segment = segments[index];
            cursor = Math.Max(cursor, segment.Range.Start);
            ulong stop = Math.Min(segment.Range.End, end);
            int room = Math.Min(found.Length, runs.Length - total);
            if (_scanner.Shared(ref cursor, stop, found[..room], out int count) == ScanStatus.Gone)
            {
                _ = Fail();
                cursor = end;
                return 0;
            }

            foreach (PageRange run in found[..count])
            {
                runs[total++] = new SharedRun(
                    run.Start, (uint)run.Count, segment.Slot + (uint)(run.Start - segment.Range.Start));
            }
        }

        return total;
    }

    /// <inheritdoc/>
    /// <summary>
    /// The target's own descriptor of the store. It is what later checks compare with: a daemon that took the store over has
    /// opened it anew, and that is another open file to the kernel.
    /// </summary>
    private static SafeFileHandle TakeStore(ProcessIdentity process, int number, TmpfsStore store)
    {
        SafeFileHandle taken = process.TakeDescriptor(number);
        if (Mount.TryStat(taken, out Mount.statx stat)
            && new FileIdentity(stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino) == store.Identity)
        {
            return taken;
        }

        taken.Dispose();
        throw new TargetException(
            TargetError.Refused, $"process {process.Pid} no longer has the store of domain {store.Domain} open", process.Pid);
    }

    private void DisposeOwn()
    {
        _storeInTarget.Dispose();
        _tasks.Dispose();
        _scanner.Dispose();
        _tracking.Dispose();
        _merged.Dispose();
        _control.Dispose();
    }

    /// <summary>Lets go of the daemon's side; the target stays as it is.</summary>
    public void Dispose()
    {
        AwaitStarted();
        Notifiers.Release();
        DisposeOwn();
        _process.Dispose();
    }
}
