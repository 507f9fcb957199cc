namespace Samepage;

/// <summary>
/// One trust domain: its store, the records of its slots, and the stable tree over them. The tree holds the slots
/// another mapping may be added to; a slot with as many mappings as allowed leaves it, and comes back once half of
/// them are gone (half, so that a slot at the limit does not come and go with every write).
/// </summary>
internal sealed class MergeDomain
{
    private readonly SlotAllocator _allocator;
    private readonly List<uint> _unwritten = [];
    private readonly List<uint> _reopened = [];
    private readonly StableChains _chains = new();

    public MergeDomain(string name, int index, IPageStore store)
    {
        Name = name;
        Index = index;
        Store = store;
        Slots = new SlotTable();
        Stable = new DigestIndex(Slots, 0);
        _allocator = new SlotAllocator(Slots);
        for (uint slot = 0; slot < store.EndSlot; slot++)
        {
            if (StoreLayout.IsUsable(slot))
            {
                Slots.Fill(slot, PageKey.ContentUnknown);
            }
        }

        Reserve(store.EndSlot);
    }

    public string Name { get; }

    public int Index { get; }

    public IPageStore Store { get; }

    public SlotTable Slots { get; }

    public DigestIndex Stable { get; }

    public long Bytes => Slots.Bytes + Stable.Bytes + _allocator.Bytes + (_reopened.Capacity * 4L) + _chains.Bytes;

    /// <summary>Contents with more than one store page.</summary>
    public StableChains Chains => _chains;

    /// <summary>Slots that came (back) into the stable tree with content that candidates may wait for.</summary>
    public List<uint> Reopened => _reopened;

    /// <summary>True while slots are planned whose content could not be written.</summary>
    public bool HasUnwritten => _unwritten.Count > 0;

    /// <summary>Finds a slot with this key that may get another mapping.</summary>
    /// <param name="key">Key of the page.</param>
    /// <param name="mappingsMax">Mappings a slot may have.</param>
    /// <param name="slot">The slot.</param>
    public bool TryFind(ulong key, int mappingsMax, out uint slot)
    {
        Span<uint> slots = stackalloc uint[16];
        int found = Stable.Find(key, slots);
        foreach (uint candidate in slots[..found])
        {
            if (Slots.Mappings(candidate) < mappingsMax)
            {
                slot = candidate;
                return true;
            }
        }

        slot = 0;
        return false;
    }

    /// <summary>True when that very slot has this key and may get another mapping.</summary>
    public bool IsJoinable(uint slot, ulong key, int mappingsMax) =>
        Slots.KeyOf(slot) == key && Slots.Mappings(slot) < mappingsMax && !_unwritten.Contains(slot);

    /// <summary>
    /// Makes a new store page with this key; the caller writes its bytes before anything is executed.
    /// </summary>
    public bool TryMake(ulong key, out uint slot)
    {
        if (!_allocator.TryTake(out slot))
        {
            return false;
        }

        Slots.Fill(slot, key);
        Stable.Add(key, slot);
        return true;
    }

    /// <summary>The same in that very slot, if it is free and the next to be given out.</summary>
    public bool TryMakeAt(ulong key, uint slot)
    {
        if (!_allocator.TryTake(slot))
        {
            return false;
        }

        Slots.Fill(slot, key);
        Stable.Add(key, slot);
        return true;
    }

    /// <summary>True when <see cref="TryMakeAt"/> would succeed.</summary>
    public bool CanMakeAt(uint slot) => _allocator.IsNext(slot);

    public void AddMapping(uint slot, int mappingsMax)
    {
        ulong key = Slots.KeyOf(slot);
        int mappings = Slots.AddMapping(slot);
        if (mappings == 1)
        {
            _chains.Mapped(key, OthersMapped(key, slot));
        }

        if (mappings == mappingsMax)
        {
            Stable.Remove(key, slot);
            _chains.Filled(key);
        }
    }

    public void DropMapping(uint slot, int mappingsMax)
    {
        ulong key = Slots.KeyOf(slot);
        int mappings = Slots.DropMapping(slot);
        if (mappings == 0)
        {
            _chains.Unmapped(key);
        }

        if (mappings == mappingsMax / 2 && key != PageKey.ContentUnknown && !_unwritten.Contains(slot))
        {
            if (!IsInTree(key, slot))
            {
                _chains.Reopened(key);
            }

            Stable.Add(key, slot);
            _reopened.Add(slot);
        }
    }

    /// <summary>Puts exactly those slots into the stable tree that may get another mapping; after the limit was
    /// changed.
    /// </summary>
    /// <param name="before">The limit until now.</param>
    /// <param name="mappingsMax">The limit from now on.</param>
    public void Reindex(int before, int mappingsMax)
    {
        Stable.Clear();
        _chains.ClearFull();
        for (uint slot = 0; slot < Slots.End; slot++)
        {
            ulong key = Slots.KeyOf(slot);
            if (key is not (0 or PageKey.ContentUnknown) && Slots.Mappings(slot) < mappingsMax)
            {
                Stable.Add(key, slot);
                if (Slots.Mappings(slot) > before / 2)
                {
                    _reopened.Add(slot);
                }
            }
            else if (key is not (0 or PageKey.ContentUnknown))
            {
                _chains.Filled(key);
            }
        }
    }

    /// <summary>The bytes of these slots could not be written: nobody may find or use them.</summary>
    public void MarkUnwritten(uint first, int count)
    {
        for (uint slot = first; slot < first + (uint)count; slot++)
        {
            Stable.Remove(Slots.KeyOf(slot), slot);
            _unwritten.Add(slot);
        }
    }

    public bool IsUnwritten(uint slot) => _unwritten.Contains(slot);

    /// <summary>Gives unwritten slots back once no plan uses them any more.</summary>
    public void ReturnUnwritten()
    {
        _unwritten.Sort();
        foreach (uint slot in _unwritten)
        {
            Slots.Empty(slot);
        }

        _allocator.Return(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_unwritten));
        _unwritten.Clear();
    }

    /// <summary>
    /// Makes sure that a slot a target maps has a record, and reads its content back where only its existence is known.
    /// </summary>
    /// <returns>False for a slot that cannot be: it was given out by nobody we know.</returns>
    public bool TryAdopt(uint slot, PageDigester digester, Span<byte> page)
    {
        ulong key = Slots.KeyOf(slot);
        if (key == 0)
        {
            if (slot < _allocator.Top || !StoreLayout.IsUsable(slot))
            {
                return false;
            }

            Reserve(slot + 1);
            Slots.Fill(slot, PageKey.ContentUnknown);
            key = PageKey.ContentUnknown;
        }

        if (key == PageKey.ContentUnknown)
        {
            Store.Read(slot, page[..PageSize.Bytes]);
            key = PageKey.Of(digester.Digest(page[..PageSize.Bytes]));
            Slots.Identify(slot, key);
            Stable.Add(key, slot);
            _reopened.Add(slot);
        }

        return true;
    }

    /// <summary>Asks the store to take unreferenced slots back.</summary>
    /// <param name="slots">Slots, ascending, none of them mapped as far as we know.</param>
    /// <param name="freed">Room for as many answers.</param>
    /// <returns>How many were freed.</returns>
    public int Reclaim(Span<uint> slots, Span<bool> freed)
    {
        freed.Clear();
        Store.Reclaim(slots, freed);
        int count = 0;
        for (int i = 0; i < slots.Length; i++)
        {
            if (freed[i])
            {
                Stable.Remove(Slots.KeyOf(slots[i]), slots[i]);
                Slots.Empty(slots[i]);
                slots[count++] = slots[i];
            }
        }

        _allocator.Return(slots[..count]);
        return count;
    }

    /// <summary>True when another page with the same content has mappings: this one will not get any soon.</summary>
    public bool HasMappedTwin(uint slot)
    {
        ulong key = Slots.KeyOf(slot);
        return OthersMapped(key, slot) > 0 || _chains.HasFull(key);
    }

    private int OthersMapped(ulong key, uint slot)
    {
        Span<uint> slots = stackalloc uint[16];
        int mapped = 0;
        foreach (uint other in slots[..Stable.Find(key, slots)])
        {
            mapped += other != slot && Slots.Mappings(other) > 0 ? 1 : 0;
        }

        return mapped;
    }

    private bool IsInTree(ulong key, uint slot)
    {
        Span<uint> slots = stackalloc uint[DigestIndex.MaxIdsPerKey];
        return slots[..Stable.Find(key, slots)].Contains(slot);
    }

    private void Reserve(uint end)
    {
        if (end > _allocator.Top)
        {
            _allocator.StartAt(end);
        }
    }
}
