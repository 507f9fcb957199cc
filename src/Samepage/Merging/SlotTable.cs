using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>
/// What is known about the slots of one store, eight bytes each:
/// <code>
///  63          48 47                 0
/// +--------------+--------------------+
/// | mappings     | key                |   0: the slot holds nothing
/// +--------------+--------------------+
/// </code>
/// A slot with a key and no mapping keeps its content, and stays in the stable tree, until the store takes it back.
/// </summary>
internal sealed class SlotTable : IDigestKeys
{
    /// <summary>Mappings a slot can count.</summary>
    public const int MappingsMax = ushort.MaxValue;

    private const int SlabShift = 12;
    private const uint SlabMask = (1u << SlabShift) - 1;
    private const int MappingsShift = PageKey.Bits;
    private const ulong OneMapping = 1UL << MappingsShift;

    private ulong[]?[] _slabs = [];
    private int _slabsUsed;

    /// <summary>Slots that hold content.</summary>
    public long Stored { get; private set; }

    /// <summary>Slots that hold content and have at least one mapping.</summary>
    public long Mapped { get; private set; }

    /// <summary>Slots that hold content nobody maps, as far as we know.</summary>
    public long Unreferenced => Stored - Mapped;

    /// <summary>Slots from here on have no record.</summary>
    public long End => (long)_slabs.Length << SlabShift;

    public long Bytes => ((long)_slabsUsed * sizeof(ulong) << SlabShift) + (_slabs.Length * 8L);

    /// <inheritdoc/>
    public ulong KeyOf(uint id) => Record(id) & PageKey.Mask;

    public int Mappings(uint slot) => (int)(Record(slot) >> MappingsShift);

    public bool HasContent(uint slot) => KeyOf(slot) != 0;

    /// <summary>The slot now holds a page with this key; nobody maps it yet.</summary>
    public void Fill(uint slot, ulong key)
    {
        ref ulong record = ref Touch(slot);
        Invariant.Check(record == 0);
        record = key;
        Stored++;
    }

    /// <summary>The content behind a key that was unknown until now.</summary>
    public void Identify(uint slot, ulong key)
    {
        ref ulong record = ref Touch(slot);
        Invariant.Check((record & PageKey.Mask) == PageKey.ContentUnknown);
        record = (record & ~PageKey.Mask) | key;
    }

    /// <summary>The slot holds nothing any more.</summary>
    public void Empty(uint slot)
    {
        ref ulong record = ref Touch(slot);
        Invariant.Check(record != 0 && record < OneMapping);
        record = 0;
        Stored--;
    }

    /// <returns>Mappings after it.</returns>
    public int AddMapping(uint slot)
    {
        ref ulong record = ref Touch(slot);
        Invariant.Check((record & PageKey.Mask) != 0 && record >> MappingsShift < MappingsMax);
        if (record < OneMapping)
        {
            Mapped++;
        }

        record += OneMapping;
        return (int)(record >> MappingsShift);
    }

    /// <returns>Mappings after it.</returns>
    public int DropMapping(uint slot)
    {
        ref ulong record = ref Touch(slot);
        Invariant.Check(record >= OneMapping);
        record -= OneMapping;
        if (record < OneMapping)
        {
            Mapped--;
        }

        return (int)(record >> MappingsShift);
    }

    /// <summary>Collects slots nobody maps, from <paramref name="cursor"/> on.</summary>
    /// <param name="cursor">Moved behind what was looked at.</param>
    /// <param name="lookAt">Records to look at, at most.</param>
    /// <param name="slots">Receives the slots, in order.</param>
    public int CollectUnreferenced(ref uint cursor, int lookAt, Span<uint> slots)
    {
        int found = 0;
        long end = Math.Min(End, (long)cursor + lookAt);
        while (cursor < end && found < slots.Length)
        {
            ulong record = Record(cursor);
            if (record != 0 && record < OneMapping)
            {
                slots[found++] = cursor;
            }

            cursor++;
        }

        return found;
    }

    private ulong Record(uint slot)
    {
        uint slab = slot >> SlabShift;
        return slab < (uint)_slabs.Length && _slabs[slab] is { } records ? records[slot & SlabMask] : 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ref ulong Touch(uint slot)
    {
        uint slab = slot >> SlabShift;
        if (slab >= (uint)_slabs.Length || _slabs[slab] is null)
        {
            AddSlab(slab);
        }

        return ref _slabs[slab]![slot & SlabMask];
    }

    private void AddSlab(uint slab)
    {
        if (slab >= (uint)_slabs.Length)
        {
            Array.Resize(ref _slabs, (int)Math.Max(slab + 1, (uint)(_slabs.Length + (_slabs.Length / 4))));
        }

        _slabs[slab] = new ulong[1 << SlabShift];
        _slabsUsed++;
    }
}
