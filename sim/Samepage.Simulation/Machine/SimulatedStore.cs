namespace Samepage.Simulation;

/// <summary>The store of a trust domain: frames that are never written once they hold a page.</summary>
public sealed class SimulatedStore : IPageStore
{
    private const uint NoFrame = uint.MaxValue;

    private readonly SimulatedMachine _machine;
    private readonly MemoryManager _memory;
    private readonly List<uint> _frames;

    internal SimulatedStore(SimulatedMachine machine, MemoryManager memory, string domain, int index)
    {
        (_machine, _memory, Domain, Index) = (machine, memory, domain, index);
        _frames = [];
    }

    private SimulatedStore(SimulatedStore old)
    {
        (_machine, _memory, Domain, Index) = (old._machine, old._memory, old.Domain, old.Index);
        _frames = old._frames;
        EndSlot = (uint)(_frames.FindLastIndex(frame => frame != NoFrame) + 1);
        PagesUsed = old.PagesUsed;
    }

    public string Domain { get; }

    public uint EndSlot { get; }

    /// <summary>Slots that hold a page.</summary>
    public long PagesUsed { get; private set; }

    /// <summary>Number of the store in its machine.</summary>
    internal int Index { get; }

    public void Write(uint slot, ReadOnlySpan<byte> pages)
    {
        if (_machine.Fires(MachineFault.StoreFull))
        {
            throw new IOException("no memory for new store pages");
        }

        for (int i = 0; i < pages.Length / PageSize.Bytes; i++)
        {
            Write(slot + (uint)i, PageContent.Parse(pages.Slice(i * PageSize.Bytes, PageSize.Bytes)));
        }

        _machine.Point(SchedulingPoint.StoreWritten);
    }

    public void Read(uint slot, Span<byte> pages)
    {
        for (int i = 0; i < pages.Length / PageSize.Bytes; i++)
        {
            _memory.Frames[FrameOf(slot + (uint)i)].Content.CopyTo(pages.Slice(i * PageSize.Bytes, PageSize.Bytes));
        }
    }

    public void Reclaim(ReadOnlySpan<uint> slots, Span<bool> freed)
    {
        for (int i = 0; i < slots.Length; i++)
        {
            if (IsEmpty(slots[i]))
            {
                // A new daemon asks for every slot its predecessor may have used.
                freed[i] = true;
                continue;
            }

            uint frame = FrameOf(slots[i]);
            bool mapped = _memory.Frames[frame].Mappings > 0;
            freed[i] = !_machine.Fires(MachineFault.ProofFails)
                && (!mapped || _memory.Mutant == Mutant.ReclaimedMapped);
            if (freed[i])
            {
                _memory.Frames[frame].Content = mapped ? default : _memory.Frames[frame].Content;
                _frames[(int)slots[i]] = NoFrame;
                PagesUsed--;
                _memory.Frames.DropReference(frame);
            }
        }
    }

    /// <summary>The same pages as a new daemon finds them.</summary>
    internal SimulatedStore Reopen() => new(this);

    /// <summary>The frame at a slot.</summary>
    internal uint FrameOf(uint slot) => !IsEmpty(slot)
        ? _frames[(int)slot]
        : throw new InvalidOperationException($"slot {slot} of {Domain} holds nothing");

    private bool IsEmpty(uint slot) => slot >= _frames.Count || _frames[(int)slot] == NoFrame;

    private void Write(uint slot, PageContent content)
    {
        if (!StoreLayout.IsUsable(slot))
        {
            _machine.Violation("store", $"slot {slot} of {Domain} must never be written");
        }

        while (_frames.Count <= slot)
        {
            _frames.Add(NoFrame);
        }

        if (_frames[(int)slot] != NoFrame)
        {
            // Only what was reclaimed may be written again.
            ref Frame old = ref _memory.Frames[_frames[(int)slot]];
            if (old.Mappings > 0)
            {
                _machine.Violation("store", $"slot {slot} of {Domain} was written while somebody maps it");
                old.Content = content;
                return;
            }

            PagesUsed--;
            _memory.Frames.DropReference(_frames[(int)slot]);
        }

        uint frame = _memory.Frames.Allocate(FrameKind.Store, content);
        _memory.Frames.AddReference(frame);
        _memory.Frames.SetStorePlace(frame, Index, slot);
        _frames[(int)slot] = frame;
        PagesUsed++;
    }
}
