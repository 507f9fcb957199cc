using System.Runtime.CompilerServices;

namespace Samepage.Simulation;

/// <summary>
/// Translations one CPU remembers. Nothing tells it that a page table has changed: who changes an entry has to flush
/// it, or the CPU goes on using the old frame with the old rights.
/// </summary>
public sealed class Tlb
{
    private const int Size = 64;

    private readonly Entry[] _entries = new Entry[Size];

    private struct Entry
    {
        /// <summary>The mapping's key plus 1; 0: empty.</summary>
        public ulong Tag;
        public Pte Pte;
    }

    /// <summary>Finds a translation that allows the access without looking at the page table.</summary>
    /// <param name="key">The page.</param>
    /// <param name="needs">Bits the entry must have: a write needs writable and dirty, as the CPU has to walk the
    /// table to set the dirty bit there.</param>
    /// <param name="frame">The frame.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryFind(MappingKey key, ulong needs, out uint frame)
    {
        ref Entry entry = ref Place(key);
        frame = entry.Pte.Frame;
        return entry.Tag == key.Bits + 1 && (entry.Pte.Bits & needs) == needs;
    }

    internal void Fill(MappingKey key, Pte pte)
    {
        ref Entry entry = ref Place(key);
        entry.Tag = key.Bits + 1;
        entry.Pte = pte;
    }

    internal void Flush(MappingKey key)
    {
        ref Entry entry = ref Place(key);
        if (entry.Tag == key.Bits + 1)
        {
            entry.Tag = 0;
        }
    }

    internal void FlushSpace(int space)
    {
        foreach (ref Entry entry in _entries.AsSpan())
        {
            if (entry.Tag != 0 && new MappingKey(entry.Tag - 1).Space == space)
            {
                entry.Tag = 0;
            }
        }
    }

    /// <summary>What it remembers, for the checker.</summary>
    internal IEnumerable<(MappingKey Key, Pte Pte)> Remembered() =>
        from entry in _entries where entry.Tag != 0 select (new MappingKey(entry.Tag - 1), entry.Pte);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ref Entry Place(MappingKey key) =>
        ref _entries[(int)((key.Page ^ ((ulong)key.Space * 11)) & (Size - 1))];
}
