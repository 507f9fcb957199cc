using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>
/// The words of all pages of all targets. Pages are kept in chunks of 512 (2 MiB of address space) that exist only
/// where a page was ever seen, so that a huge sparse region costs nothing. A page is named by a 32-bit id, chunk number
/// and offset, which is what the trees hold; the chunk's record leads back to target and page number.
/// </summary>
internal sealed class PageTable : IDigestKeys
{
    public const int ChunkShift = 9;
    public const int ChunkPages = 1 << ChunkShift;
    public const uint OffsetMask = ChunkPages - 1;

    // Chunks come out of slabs of 64: one array index less on the way to a word than an array for each chunk, and few
    // enough objects that a collection never has to walk many.
    private const int SlabShift = 15;
    private const uint SlabMask = (1u << SlabShift) - 1;
    private const int ChunksPerSlab = 1 << (SlabShift - ChunkShift);

    private ulong[][] _slabs = [];
    private Chunk[] _chunks = [];
    private uint[] _free = [];
    private int _freeCount;
    private int _slabCount;

    /// <summary>Bytes of all tables.</summary>
    public long Bytes =>
        ((long)_slabCount * sizeof(ulong) << SlabShift) + (_slabs.Length * 8L) + (_chunks.Length * (long)Chunk.Bytes)
        + (_free.Length * 4L);

    /// <summary>Chunks in use.</summary>
    public int ChunksUsed => (_slabCount * ChunksPerSlab) - _freeCount;

    /// <summary>The word of a page.</summary>
    public ref ulong this[uint id]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref _slabs[id >> SlabShift][id & SlabMask];
    }

    /// <summary>All words of a chunk.</summary>
    public Span<ulong> Words(uint chunk) =>
        _slabs[chunk >> (SlabShift - ChunkShift)].AsSpan((int)((chunk << ChunkShift) & SlabMask), ChunkPages);

    public int TargetOf(uint id) => _chunks[id >> ChunkShift].Target;

    public ulong FirstPage(uint chunk) => _chunks[chunk].FirstPage;

    public ulong PageOf(uint id) => _chunks[id >> ChunkShift].FirstPage + (id & OffsetMask);

    /// <summary>True until <see cref="ClearDirty"/>: the chunk holds words of planned pages.</summary>
    /// <returns>True when it was clean before.</returns>
    public bool MarkDirty(uint chunk)
    {
        ref Chunk record = ref _chunks[chunk];
        bool clean = !record.Dirty;
        record.Dirty = true;
        return clean;
    }

    public void ClearDirty(uint chunk) => _chunks[chunk].Dirty = false;

    public uint Allocate(int target, ulong firstPage)
    {
        if (_freeCount == 0)
        {
            AddSlab();
        }

        uint chunk = _free[--_freeCount];
        _chunks[chunk] = new Chunk { FirstPage = firstPage, Target = target };
        return chunk;
    }

    /// <summary>Gives a chunk back. Its words need not be empty: ids in the trees become stale.</summary>
    public void Free(uint chunk)
    {
        Words(chunk).Clear();
        _chunks[chunk] = new Chunk { Target = -1 };
        _free[_freeCount++] = chunk;
    }

    /// <inheritdoc/>
    public ulong KeyOf(uint id) => new PageWord(this[id]).TreeKey;

    private void AddSlab()
    {
        Invariant.Check(_slabCount < 1 << (32 - SlabShift));
        if (_slabCount == _slabs.Length)
        {
            // Small steps: these tables are part of the few bytes a page may cost.
            int slabs = Math.Max(4, _slabCount + (_slabCount / 4));
            Array.Resize(ref _slabs, slabs);
            Array.Resize(ref _chunks, slabs * ChunksPerSlab);
            Array.Resize(ref _free, slabs * ChunksPerSlab);
        }

        _slabs[_slabCount] = new ulong[1 << SlabShift];
        uint first = (uint)(_slabCount++ * ChunksPerSlab);
        for (int i = ChunksPerSlab - 1; i >= 0; i--)
        {
            _free[_freeCount++] = first + (uint)i;
        }
    }

    private struct Chunk
    {
        public const int Bytes = 16;

        public ulong FirstPage;
        public int Target;
        public bool Dirty;
    }
}
