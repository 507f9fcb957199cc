using System.Runtime.CompilerServices;

namespace Samepage.Simulation;

/// <summary>How the kernel tells a secondary MMU that another page lies behind an entry.</summary>
public enum NotificationRule
{
    /// <summary>As KSM's patches did (2.6.32): flush without a notification, then set_pte_at_notify.</summary>
    ChangePte,

    /// <summary>As today's kernels do: invalidate_range_start before and invalidate_range_end after.</summary>
    InvalidateRange,
}

/// <summary>
/// The kernel's memory management of a simulated machine: what a CPU sees at an address, page faults, copy-on-write,
/// and the system calls that change mappings. Each method runs to its end before anything else runs, as if it held the
/// address space's lock; what may run in between is said where it may.
/// </summary>
public sealed partial class MemoryManager
{
    // Pages from which on a whole space is flushed instead of page by page.
    private const ulong FlushAllPages = 33;

    private readonly List<AddressSpace> _spaces = [];
    private readonly Tlb[] _tlbs;

    internal MemoryManager(int processors, NotificationRule rule, Mutant mutant)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(processors, 1);
        _tlbs = new Tlb[processors];
        for (int i = 0; i < processors; i++)
        {
            _tlbs[i] = new Tlb();
        }

        Rule = rule;
        Mutant = mutant;
    }

    /// <summary>How secondary MMUs hear of new pages.</summary>
    public NotificationRule Rule { get; }

    /// <summary>What is broken on purpose.</summary>
    public Mutant Mutant { get; }

    public PhysicalMemory Frames { get; } = new();

    /// <summary>Translation caches, one for each CPU.</summary>
    internal ReadOnlySpan<Tlb> Tlbs => _tlbs;

    internal IReadOnlyList<AddressSpace> Spaces => _spaces;

    internal Swap Swap { get; } = new();

    /// <summary>Page faults so far.</summary>
    public long Faults { get; private set; }

    /// <summary>Copies made because a shared page was written.</summary>
    public long Breaks { get; private set; }

    internal AddressSpace CreateSpace()
    {
        var space = new AddressSpace(_spaces.Count);
        _spaces.Add(space);
        return space;
    }

    /// <summary>A CPU reads a page.</summary>
    /// <returns>False when the access is not allowed (SIGSEGV).</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead(int cpu, AddressSpace space, ulong page, out PageContent content)
    {
        if (!_tlbs[cpu].TryFind(space.KeyOf(page), Pte.PresentBit, out uint frame)
            && !TryWalk(cpu, space, page, write: false, out frame))
        {
            content = default;
            return false;
        }

        content = Frames[frame].Content;
        return true;
    }

    /// <summary>A CPU writes half a page.</summary>
    /// <returns>False when the access is not allowed (SIGSEGV).</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryWrite(int cpu, AddressSpace space, ulong page, int half, ulong word)
    {
        if (!_tlbs[cpu].TryFind(space.KeyOf(page), Pte.WritableBit | Pte.DirtyBit, out uint frame)
            && !TryWalk(cpu, space, page, write: true, out frame))
        {
            return false;
        }

        Store(frame, half, word);
        return true;
    }

    /// <summary>A write by a CPU that finds everything it needs in its TLB; so not even a lock stops it.</summary>
    internal bool TryWriteWithoutWalk(int cpu, AddressSpace space, ulong page, int half, ulong word)
    {
        if (!_tlbs[cpu].TryFind(space.KeyOf(page), Pte.WritableBit | Pte.DirtyBit, out uint frame))
        {
            return false;
        }

        Store(frame, half, word);
        return true;
    }

    /// <summary>A device writes a frame it holds a reference to.</summary>
    internal void WriteFrame(uint frame, int half, ulong word) => Store(frame, half, word);

    /// <summary>The kernel (or somebody with its help, as process_vm_readv) looks a page up.</summary>
    internal bool TryGetFrame(AddressSpace space, ulong page, bool write, out uint frame)
    {
        for (int attempt = 0; attempt < 4; attempt++)
        {
            var pte = new Pte(space.Table.Get(page));
            if (pte.IsPresent && (!write || pte.IsWritable))
            {
                if (write)
                {
                    space.Table.Touch(page) |= Pte.DirtyBit;
                }

                frame = pte.Frame;
                return true;
            }

            if (!space.IsAlive || !Fault(space, page, write))
            {
                break;
            }
        }

        frame = 0;
        return false;
    }

    /// <summary>What a process would see at a page, without any effect of looking.</summary>
    internal PageContent Peek(AddressSpace space, ulong page) => ContentOf(new Pte(space.Table.Get(page)));

    internal PageContent ContentOf(Pte pte) => pte.IsPresent ? Frames[pte.Frame].Content
        : pte.IsSwapped ? Swap.Get(pte.Frame)
        : PageContent.Zero;

    internal void Flush(AddressSpace space, ulong page)
    {
        foreach (Tlb tlb in _tlbs)
        {
            tlb.Flush(space.KeyOf(page));
        }
    }

    internal void Flush(AddressSpace space, PageRange range)
    {
        if (range.Count >= FlushAllPages)
        {
            FlushSpace(space);
            return;
        }

        for (ulong page = range.Start; page < range.End; page++)
        {
            Flush(space, page);
        }
    }

    internal void FlushSpace(AddressSpace space)
    {
        foreach (Tlb tlb in _tlbs)
        {
            tlb.FlushSpace(space.Id);
        }
    }

    private void Store(uint frame, int half, ulong word)
    {
        ref Frame written = ref Frames[frame];
        written.Content = written.Content.With(half, word);
    }

    private bool TryWalk(int cpu, AddressSpace space, ulong page, bool write, out uint frame)
    {
        if (!TryGetFrame(space, page, write, out frame))
        {
            return false;
        }

        _tlbs[cpu].Fill(space.KeyOf(page), new Pte(space.Table.Get(page)));
        return true;
    }
}
