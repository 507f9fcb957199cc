namespace Samepage.Tests;

/// <summary>A store in memory, which notices when its rules are broken.</summary>
public sealed class MemoryStore(MemoryMachine machine, string domain, uint endSlot = 0) : IPageStore
{
    private readonly Dictionary<uint, PageContent> _slots = [];
    private readonly Dictionary<uint, int> _mappings = [];

    public string Domain => domain;

    public uint EndSlot { get; } = endSlot;

    public int PagesUsed => _slots.Count;

    public IReadOnlyCollection<uint> SlotsUsed => _slots.Keys;

    public int Writes { get; private set; }

    public PageContent ContentOf(uint slot) => _slots.TryGetValue(slot, out PageContent content)
        ? content
        : throw new InvalidOperationException($"slot {slot} of {domain} holds nothing");

    /// <summary>True while any process, registered or not, maps the slot.</summary>
    public bool IsMapped(uint slot) => _mappings.GetValueOrDefault(slot) > 0;

    public void CountMapping(uint slot, int by) => _mappings[slot] = _mappings.GetValueOrDefault(slot) + by;

    /// <summary>A page an earlier daemon has left here.</summary>
    public void Plant(uint slot, PageContent content) => _slots[slot] = content;

    public void Write(uint slot, ReadOnlySpan<byte> pages)
    {
        if (machine.Fires(MemoryFault.StoreFull))
        {
            throw new IOException("no memory");
        }

        Writes++;
        for (int i = 0; i < pages.Length / PageSize.Bytes; i++)
        {
            uint one = slot + (uint)i;
            if (!StoreLayout.IsUsable(one))
            {
                machine.Violation($"slot {one} must never be written");
            }

            if (IsMapped(one))
            {
                machine.Violation($"slot {one} was written while somebody maps it");
            }

            _slots[one] = PageContent.Parse(pages.Slice(i * PageSize.Bytes, PageSize.Bytes));
        }
    }

    public void Read(uint slot, Span<byte> pages)
    {
        for (int i = 0; i < pages.Length / PageSize.Bytes; i++)
        {
            ContentOf(slot + (uint)i).CopyTo(pages.Slice(i * PageSize.Bytes, PageSize.Bytes));
        }
    }

    public void Reclaim(ReadOnlySpan<uint> slots, Span<bool> freed)
    {
        bool careless = machine.Has(MemoryFault.ReclaimsMappedSlots);
        for (int i = 0; i < slots.Length; i++)
        {
            freed[i] = careless || !IsMapped(slots[i]);
            if (freed[i])
            {
                _slots.Remove(slots[i]);
            }
        }
    }
}
