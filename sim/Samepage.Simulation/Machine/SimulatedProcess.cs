namespace Samepage.Simulation;

/// <summary>
/// A process of a <see cref="SimulatedMachine"/>: what the program in it does. What the engine may do to it is
/// <see cref="ITarget"/>, in the other file.
/// </summary>
public sealed partial class SimulatedProcess : ITarget, IObservedProcess
{
    private readonly SimulatedMachine _machine;
    private readonly MemoryManager _memory;
    private readonly RadixTable<PageContent> _written = new();
    private readonly List<PinnedPage> _pins = [];

    internal SimulatedProcess(SimulatedMachine machine, AddressSpace space, int pid)
    {
        _machine = machine;
        _memory = machine.Memory;
        Space = space;
        Pid = pid;
    }

    public int Pid { get; }

    public string Name => $"p{Pid}";

    public bool IsAlive => Space.IsAlive;

    public AddressSpace Space { get; }

    /// <summary>
    /// True while the machine works at its address space with the lock held: whatever changes areas, fork and exit have
    /// to wait until it is false again.
    /// </summary>
    public bool IsLocked => Space.IsLocked;

    /// <summary>Pages held by direct I/O.</summary>
    public IReadOnlyList<PinnedPage> Pins => _pins;

    /// <summary>What the program last wrote there; the checker's truth.</summary>
    public PageContent WrittenAt(ulong page) => _written.Get(page);

    /// <summary>Writes a whole page, one half after the other.</summary>
    public bool Write(int cpu, ulong page, PageContent content) =>
        WriteHalf(cpu, page, 0, content.First) && WriteHalf(cpu, page, 1, content.Second);

    /// <summary>Writes half a page.</summary>
    /// <returns>False when that is not allowed there; nothing happened then.</returns>
    public bool WriteHalf(int cpu, ulong page, int half, ulong word)
    {
        if (!_memory.TryWrite(cpu, Space, page, half, word))
        {
            return false;
        }

        Remember(page, half, word);
        return true;
    }

    /// <summary>A write for which the CPU needs neither page table nor lock; false when it would.</summary>
    internal bool WriteHalfWithoutWalk(int cpu, ulong page, int half, ulong word)
    {
        if (!_memory.TryWriteWithoutWalk(cpu, Space, page, half, word))
        {
            return false;
        }

        Remember(page, half, word);
        return true;
    }

    /// <summary>Reads a page; what it gets must be what it wrote.</summary>
    /// <returns>False when that is not allowed there.</returns>
    public bool Read(int cpu, ulong page)
    {
        if (!_memory.TryRead(cpu, Space, page, out PageContent content))
        {
            return false;
        }

        if (_machine.Options.RemembersWrites && content != _written.Get(page))
        {
            _machine.Violation("contents", $"{Name} reads {content} at page {page:x}, wrote {_written.Get(page)}");
        }

        return true;
    }

    /// <summary>Writes each page of a span.</summary>
    public void Fill(PageRange range, Func<ulong, ulong> word)
    {
        ArgumentNullException.ThrowIfNull(word);
        for (ulong page = range.Start; page < range.End; page++)
        {
            if (!Write(0, page, PageContent.Of(word(page))))
            {
                throw new InvalidOperationException($"{Name} may not write page {page:x}");
            }
        }
    }

    /// <summary>mmap of private memory.</summary>
    public void Map(PageRange range)
    {
        Invariant.Check(!IsLocked);
        Forget(range);
        _memory.Map(Space, range);
    }

    /// <summary>munmap.</summary>
    public void Unmap(PageRange range)
    {
        Invariant.Check(!IsLocked);
        Forget(range);
        _memory.Unmap(Space, range);
    }

    /// <summary>madvise(MADV_DONTNEED).</summary>
    public void Drop(PageRange range)
    {
        Forget(range);
        _memory.Drop(Space, range);
    }

    /// <summary>mprotect.</summary>
    public void Protect(PageRange range, bool writable)
    {
        Invariant.Check(!IsLocked);
        _memory.Protect(Space, range, writable);
    }

    /// <summary>mremap to another place, which must not overlap.</summary>
    public void Move(PageRange from, ulong to)
    {
        Invariant.Check(!IsLocked);
        Forget(new PageRange(to, to + from.Count));
        for (ulong offset = 0; offset < from.Count; offset++)
        {
            if (_written.Get(from.Start + offset) is var content && content != default)
            {
                _written.Touch(to + offset) = content;
            }
        }

        _written.Clear(from);
        for (int i = 0; i < _pins.Count; i++)
        {
            if (_pins[i].IsAttached && from.Contains(_pins[i].Page))
            {
                _pins[i] = _pins[i] with { Page = to + (_pins[i].Page - from.Start) };
            }
        }

        _memory.Move(Space, from, to);
    }

    /// <summary>A child with the same memory, which nobody has registered.</summary>
    public SimulatedProcess Fork()
    {
        Invariant.Check(!IsLocked);
        SimulatedProcess child = _machine.Add(_memory.Fork(Space));
        child._written.CopyFrom(_written);
        return child;
    }

    public void Exit()
    {
        Invariant.Check(!IsLocked);
        foreach (PinnedPage pin in _pins)
        {
            _memory.Frames.DropReference(pin.Frame);
        }

        _pins.Clear();
        _memory.Exit(Space);
    }

    /// <summary>The kernel pushes a page out.</summary>
    public bool SwapOut(ulong page) => _memory.SwapOut(Space, page);

    /// <summary>
    /// Direct I/O takes hold of a page to write into it later, as get_user_pages does: a shared page is copied first.
    /// </summary>
    /// <param name="page">The page.</param>
    /// <param name="fast">As get_user_pages_fast: takes no lock, and gives up where a fault would be needed.</param>
    public bool TryPin(ulong page, bool fast)
    {
        uint frame;
        if (fast)
        {
            Pte pte = Space.PteOf(page);
            if (!pte.IsPresent || !pte.IsWritable || !pte.IsDirty)
            {
                return false;
            }

            frame = pte.Frame;
        }
        else if (!_memory.TryGetFrame(Space, page, write: true, out frame))
        {
            return false;
        }

        _memory.Frames.AddReference(frame);
        _pins.Add(new PinnedPage(page, frame, IsAttached: true));
        return true;
    }

    /// <summary>The device writes into a page it holds.</summary>
    public void WritePinned(int index, int half, ulong word)
    {
        PinnedPage pin = _pins[index];
        _memory.WriteFrame(pin.Frame, half, word);
        if (pin.IsAttached)
        {
            Remember(pin.Page, half, word);
        }
    }

    /// <summary>The device is done. The kernel marks the page written.</summary>
    public void Unpin(int index)
    {
        PinnedPage pin = _pins[index];
        _pins.RemoveAt(index);
        Pte pte = Space.PteOf(pin.Page);
        if (pin.IsAttached && pte.IsPresent && pte.Frame == pin.Frame)
        {
            Space.Table.Touch(pin.Page) |= Pte.DirtyBit;
        }

        _memory.Frames.DropReference(pin.Frame);
    }

    /// <summary>What an outside observer sees of the process: each page with content or an entry.</summary>
    public IEnumerable<ObservedPage> Observe()
    {
        foreach (Vma vma in Space.Vmas)
        {
            for (ulong page = vma.Range.Start; page < vma.Range.End; page++)
            {
                var pte = new Pte(Space.Table.Get(page));
                PageContent written = _written.Get(page);
                if (!pte.IsNone || written != default)
                {
                    yield return Observe(page, pte, written);
                }
            }
        }
    }

    internal void Remember(ulong page, int half, ulong word)
    {
        if (_machine.Options.RemembersWrites)
        {
            ref PageContent content = ref _written.Touch(page);
            content = content.With(half, word);
        }
    }

    private ObservedPage Observe(ulong page, Pte pte, PageContent written)
    {
        PageContent reads = _memory.ContentOf(pte);
        string? store = null;
        uint slot = 0;
        bool isShared = pte.IsPresent && pte.IsShared;
        if (isShared && _memory.Frames[pte.Frame].Kind == FrameKind.Store)
        {
            (int index, slot) = _memory.Frames.StorePlaceOf(pte.Frame);
            store = _machine.Stores[index].Domain;
        }

        return new ObservedPage(
            page,
            new UInt128(written.First, written.Second),
            new UInt128(reads.First, reads.Second),
            isShared,
            pte.IsWritable,
            store,
            slot);
    }

    /// <summary>What was there is gone: it reads as zeros, and a device writes into the void.</summary>
    private void Forget(PageRange range)
    {
        _written.Clear(range);
        for (int i = 0; i < _pins.Count; i++)
        {
            if (range.Contains(_pins[i].Page))
            {
                _pins[i] = _pins[i] with { IsAttached = false };
            }
        }
    }
}

/// <summary>A page held by direct I/O.</summary>
/// <param name="Page">Where the program sees it.</param>
/// <param name="Frame">What is held.</param>
/// <param name="IsAttached">False once the program has unmapped or dropped the page: it does not see the writes any
/// more.</param>
public readonly record struct PinnedPage(ulong Page, uint Frame, bool IsAttached);
