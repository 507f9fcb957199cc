namespace Samepage.Simulation;

/// <summary>Why a guest had to leave to its hypervisor.</summary>
public enum ExitReason
{
    /// <summary>The shadow page table has no translation.</summary>
    NotMapped,

    /// <summary>It has one that does not allow writing.</summary>
    WriteProtected,
}

/// <summary>
/// A hypervisor's second set of page tables: guest pages straight to frames, so that a guest runs without
/// looking at the page table of its process. As KVM keeps it: filled by exits, and kept right by notifiers alone. This
/// one knows no ChangePte and gets an invalidation in its place.
/// </summary>
public class SecondaryMmu : IMmuNotifier
{
    private readonly MemoryManager _memory;
    private readonly AddressSpace _space;
    private readonly PageRange _range;
    private readonly Pte[] _shadow;
    private readonly bool[] _young;
    private int _invalidations;

    /// <param name="machine">The machine it is part of.</param>
    /// <param name="process">The hypervisor's process.</param>
    /// <param name="range">Its pages that are the guest's memory.</param>
    public SecondaryMmu(SimulatedMachine machine, SimulatedProcess process, PageRange range)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(process);
        _memory = machine.Memory;
        _space = process.Space;
        _range = range;
        _shadow = new Pte[range.Count];
        _young = new bool[range.Count];
        _space.Notifiers.Register(this);
    }

    /// <summary>Exits because there was no translation.</summary>
    public long NotMappedExits { get; private set; }

    /// <summary>Exits because the translation did not allow writing.</summary>
    public long WriteProtectedExits { get; private set; }

    public long Exits => NotMappedExits + WriteProtectedExits;

    /// <summary>Name for tables.</summary>
    public virtual string Name => "invalidate_page";

    /// <summary>Goes up with every notification, so that a fault knows whether one came while it ran.</summary>
    protected long Sequence { get; set; }

    /// <inheritdoc/>
    public void InvalidatePage(ulong address)
    {
        Sequence++;
        if (TryIndex(address, out int index))
        {
            _shadow[index] = default;
        }
    }

    /// <inheritdoc/>
    public void InvalidateRangeStart(ulong start, ulong end)
    {
        _invalidations++;
        PageRange range = new PageRange(start >> PageSize.Shift, end >> PageSize.Shift).Intersect(_range);
        if (!range.IsEmpty)
        {
            _shadow.AsSpan((int)(range.Start - _range.Start), (int)range.Count).Clear();
        }
    }

    /// <inheritdoc/>
    public void InvalidateRangeEnd(ulong start, ulong end)
    {
        Sequence++;
        _invalidations--;
    }

    /// <inheritdoc/>
    public bool ClearFlushYoung(ulong address)
    {
        bool young = TryIndex(address, out int index) && _young[index];
        if (young)
        {
            _young[index] = false;
        }

        return young;
    }

    /// <inheritdoc/>
    public void Release() => Array.Clear(_shadow);

    /// <summary>
    /// Finds the frame of a guest page, leaving the guest as often as it takes.
    /// </summary>
    /// <returns>False when the process may not access the page (the guest is stopped with an error).</returns>
    internal bool TryTranslate(ulong page, bool write, out uint frame)
    {
        int index = (int)(page - _range.Start);
        frame = 0;
        for (int attempt = 0; !Allows(_shadow[index], write); attempt++)
        {
            Invariant.Check(attempt < 8);
            Count(_shadow[index].IsPresent ? ExitReason.WriteProtected : ExitReason.NotMapped);
            if (!_space.IsAlive || !TryResolve(page, index, write))
            {
                return false;
            }
        }

        // As the hardware sets accessed bits.
        _young[index] = true;
        frame = _shadow[index].Frame;
        return true;
    }

    /// <summary>Its translations are what the page table says, with no more rights.</summary>
    internal void Check(ICollection<Violation> wrong)
    {
        for (int i = 0; i < _shadow.Length; i++)
        {
            Pte shadow = _shadow[i];
            Pte now = _space.PteOf(_range.Start + (ulong)i);
            ulong rights = shadow.Bits & (Pte.WritableBit | Pte.DirtyBit);
            if (shadow.IsPresent && (!now.IsPresent || now.Frame != shadow.Frame || (rights & ~now.Bits) != 0))
            {
                wrong.Add(new Violation(
                    "shadow", $"the guest still translates page {_range.Start + (ulong)i:x} as before"));
            }
        }
    }

    /// <summary>Puts another translation where one was; where none was, the guest has not asked for one.</summary>
    protected void Replace(in PteChange change)
    {
        Sequence++;
        ulong frame = change.Frame;
        for (ulong address = change.Address; address < change.End; address += PageSize.Bytes)
        {
            if (TryIndex(address, out int index) && _shadow[index].IsPresent)
            {
                // Writable and dirty go together: who may write without a fault must not be watched for writes.
                _shadow[index] = change.IsWritable ? Pte.Written((uint)frame) : Pte.Shared((uint)frame);
            }

            frame++;
        }
    }

    private static bool Allows(Pte shadow, bool write) =>
        shadow.IsPresent && (!write || shadow.IsWritable);

    private bool TryIndex(ulong address, out int index)
    {
        ulong page = address >> PageSize.Shift;
        index = _range.Contains(page) ? (int)(page - _range.Start) : -1;
        return index >= 0;
    }

    private void Count(ExitReason reason)
    {
        NotMappedExits += reason == ExitReason.NotMapped ? 1 : 0;
        WriteProtectedExits += reason == ExitReason.WriteProtected ? 1 : 0;
    }

    /// <summary>
    /// The hypervisor looks the page up in the process's page table and enters what it finds, unless a notification
    /// came meanwhile: then what it found may be old, and the guest tries again (KVM's mmu_notifier_retry).
    /// </summary>
    private bool TryResolve(ulong page, int index, bool write)
    {
        long sequence = Sequence;
        if (!_memory.TryGetFrame(_space, page, write, out uint frame))
        {
            return false;
        }

        if (_invalidations == 0 && sequence == Sequence)
        {
            // A page that may be written, and need not be watched for writes, is mapped writable for a read too.
            Pte now = _space.PteOf(page);
            _shadow[index] = now.IsWritable && now.IsDirty ? Pte.Written(frame) : Pte.Shared(frame);
        }

        return true;
    }
}

/// <summary>
/// One that implements ChangePte as KSM's patch meant it: whatever the new page is, it is mapped at once.
/// </summary>
public sealed class ChangePteMmu(SimulatedMachine machine, SimulatedProcess process, PageRange range)
    : SecondaryMmu(machine, process, range), IMmuNotifier
{
    public override string Name => "change_pte";

    /// <inheritdoc/>
    public void ChangePte(in PteChange change) => Replace(change);
}

/// <summary>
/// One that implements it as KVM did (kvm_set_pte_rmapp, 2.6.32): read-only pages are mapped at once, a writable one
/// (a copy after copy-on-write) only drops the old translation.
/// </summary>
public sealed class ReadOnlyChangePteMmu(SimulatedMachine machine, SimulatedProcess process, PageRange range)
    : SecondaryMmu(machine, process, range), IMmuNotifier
{
    public override string Name => "change_pte, read-only pages";

    /// <inheritdoc/>
    public void ChangePte(in PteChange change)
    {
        if (change.IsWritable)
        {
            InvalidatePage(change.Address);
        }
        else
        {
            Replace(change);
        }
    }
}
