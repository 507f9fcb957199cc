namespace Samepage;

/// <summary>
/// Hands out unused slots of one store so that pages planned one after the other get consecutive slots: consecutive
/// pages in consecutive slots are one plan and one mapping. Free slots are reused as long extents first; short holes
/// only once they are a good part of the store.
/// </summary>
internal sealed class SlotAllocator(SlotTable slots)
{
    private const uint ExtentMin = 64;

    // Sorted by start, never touching each other.
    private readonly List<Extent> _free = [];
    private readonly List<Extent> _merged = [];
    private long _freeSlots;
    private uint _next;
    private uint _end;
    private uint _top;

    public long Bytes => (_free.Capacity + _merged.Capacity) * 8L;

    /// <summary>Slots from here on have never been given out.</summary>
    public uint Top => _top;

    /// <summary>
    /// Slots below this are in use by somebody we did not give them to (pages of an earlier daemon). What is left of
    /// the extent in hand, and everything between, waits for the store to take it back.
    /// </summary>
    public void StartAt(uint slot)
    {
        Invariant.Check(slot > _top);
        _top = slot;
    }

    /// <summary>The next unused slot. The caller fills it at once.</summary>
    /// <returns>False when all 2^32 slots are in use.</returns>
    public bool TryTake(out uint slot)
    {
        while (true)
        {
            if (_next == _end && !TryNextExtent())
            {
                slot = 0;
                return false;
            }

            slot = _next++;
            if (StoreLayout.IsUsable(slot))
            {
                return true;
            }
        }
    }

    /// <summary>True when that slot can be given out next, behind the one given out before.</summary>
    public bool IsNext(uint slot) => slot == _next && _next < _end && StoreLayout.IsUsable(slot);

    /// <summary>Takes that very slot, if it is the next one anyway.</summary>
    public bool TryTake(uint wanted)
    {
        if (!IsNext(wanted))
        {
            return false;
        }

        _next++;
        return true;
    }

    /// <summary>Takes slots back, in ascending order.</summary>
    public void Return(ReadOnlySpan<uint> returned)
    {
        if (returned.IsEmpty)
        {
            return;
        }

        // One merge of two sorted sequences; an unusable slot between two free ones belongs to the extent.
        _merged.Clear();
        int next = 0;
        foreach (Extent extent in _free)
        {
            while (next < returned.Length && returned[next] < extent.Start)
            {
                Append(new Extent(returned[next], returned[next] + 1));
                next++;
            }

            Append(extent);
        }

        for (; next < returned.Length; next++)
        {
            Append(new Extent(returned[next], returned[next] + 1));
        }

        _free.Clear();
        _free.AddRange(_merged);
        _merged.Clear();
        _freeSlots += returned.Length;
    }

    private void Append(Extent extent)
    {
        if (_merged.Count > 0)
        {
            Extent last = _merged[^1];
            bool touches = last.End == extent.Start
                || (last.End + 1 == extent.Start && !StoreLayout.IsUsable(last.End));
            if (touches)
            {
                _merged[^1] = last with { End = extent.End };
                return;
            }
        }

        _merged.Add(extent);
    }

    private bool TryNextExtent()
    {
        int longest = -1;
        for (int i = 0; i < _free.Count; i++)
        {
            if (longest < 0 || _free[i].Length > _free[longest].Length)
            {
                longest = i;
            }
        }

        bool holesPile = _freeSlots > slots.Stored / 4;
        if (longest >= 0 && (_free[longest].Length >= ExtentMin || holesPile))
        {
            (_next, _end) = (_free[longest].Start, _free[longest].End);
            _freeSlots -= Math.Min(_freeSlots, _free[longest].Length);
            _free.RemoveAt(longest);
            return true;
        }

        if (_top >= uint.MaxValue - 1024)
        {
            return false;
        }

        (_next, _end) = (_top, (_top | 511) + 1);
        _top = _end;
        return true;
    }

    private readonly record struct Extent(uint Start, uint End)
    {
        public uint Length => End - Start;
    }
}
