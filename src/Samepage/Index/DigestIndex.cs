using System.Buffers;

namespace Samepage;

/// <summary>
/// Ids by 64-bit key, without the keys: what an id's key is now, <see cref="IDigestKeys"/> tells. An entry whose id has
/// got another key, or none, is <em>stale</em>: never found, and thrown out when its place is needed.
/// Not thread-safe.
/// </summary>
/// <remarks>
/// Extendible hashing (Fagin, Nievergelt, Pippenger, Strong, 1979) over small segments. A segment grows in small steps
/// and splits in two when it is large, so that memory stays below 8 bytes per entry also while growing, and no single
/// Add has to move more than one segment's entries.
/// </remarks>
internal sealed class DigestIndex
{
    /// <summary>
    /// Most ids one key can have. Equal pages are common (but one of them is enough to find the others), and each Add
    /// looks at all ids with the same key, which without a limit would take a time that grows with their square.
    /// </summary>
    public const int MaxIdsPerKey = 256;

    // Entries a segment is made for when it is known beforehand how many there will be.
    private const int ComfortableSegment = 3_000;

    private readonly IDigestKeys _keys;
    private readonly long _initialCapacity;
    private IndexSegment[] _directory = [];
    private int _depth;
    private long _initialBytes;

    /// <summary>An empty index.</summary>
    /// <param name="keys">Tells the keys of the ids.</param>
    /// <param name="initialCapacity">Number of entries to make room for at once.</param>
    public DigestIndex(IDigestKeys keys, long initialCapacity = 1024)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(initialCapacity);
        _keys = keys;
        _initialCapacity = initialCapacity;
        Reset();
    }

    /// <summary>Number of entries, those too that have become stale and were not noticed yet.</summary>
    public long Count { get; private set; }

    /// <summary>Entries there is room for without making it anew, if they spread well.</summary>
    public long Room => (long)(Bytes / IndexSegment.BytesPerPlace * IndexSegment.FullLoad);

    /// <summary>Memory in use, in bytes.</summary>
    public long Bytes { get; private set; }

    /// <summary>
    /// The ids whose key is <paramref name="key"/>: those added with it since they have it, each once, in the order
    /// they were added as far as possible. An id that was added with one key and then got another may, rarely, be found
    /// by the new one without having been added with it.
    /// </summary>
    /// <returns>Number of ids written, at most the length of <paramref name="ids"/>.</returns>
    public int Find(ulong key, Span<uint> ids)
    {
        var hash = new IndexHash(key);
        return key == 0 ? 0 : _directory[hash.Segment(_depth)].Find(key, hash, _keys, ids);
    }

    /// <summary>
    /// Adds a pair; adding it again changes nothing. <see cref="IDigestKeys.KeyOf"/> must give that key for the id by
    /// the next call of any method: the entry is stale as long as it does not.
    /// </summary>
    /// <returns>False when the key has <see cref="MaxIdsPerKey"/> ids already; the pair was not added.</returns>
    public bool Add(ulong key, uint id)
    {
        ArgumentOutOfRangeException.ThrowIfZero(key);
        var hash = new IndexHash(key);
        while (true)
        {
            var segment = _directory[hash.Segment(_depth)];
            var slot = segment.Look(hash, id);
            if (slot.IsThere)
            {
                return true;
            }

            var place = slot.Place;
            if (slot.SameTag >= MaxIdsPerKey)
            {
                place = segment.FindStale(hash, _keys);
                if (place < 0)
                {
                    return false;
                }
            }

            if (!segment.HasNoRoomAt(place))
            {
                var before = segment.Count;
                segment.Put(place, hash, id);
                Count += segment.Count - before;
                return true;
            }

            Rebuild(segment, hash);
        }
    }

    /// <summary>Adds a pair unless another id has that key already. As <see cref="Add"/> otherwise.</summary>
    /// <param name="key">The key.</param>
    /// <param name="id">The id; it has no key yet.</param>
    /// <param name="other">The id that has the key.</param>
    /// <returns>True when it was added; false when there is another.</returns>
    public bool TryAddFirst(ulong key, uint id, out uint other)
    {
        ArgumentOutOfRangeException.ThrowIfZero(key);
        var hash = new IndexHash(key);
        while (true)
        {
            var segment = _directory[hash.Segment(_depth)];
            if (segment.TryFindFirst(key, hash, _keys, out other, out var free))
            {
                return false;
            }

            if (!segment.HasNoRoomAt(free))
            {
                var before = segment.Count;
                segment.Put(free, hash, id);
                Count += segment.Count - before;
                return true;
            }

            Rebuild(segment, hash);
        }
    }

    /// <summary>
    /// Reads what a search for a key will read first. Called for a dozen keys before the first of them is searched,
    /// it lets the processor wait for all of them at once.
    /// </summary>
    /// <returns>Of no meaning; to be used, or the reads might be left out.</returns>
    public uint Touch(ulong key)
    {
        var hash = new IndexHash(key);
        return _directory[hash.Segment(_depth)].Touch(hash);
    }

    /// <summary>Takes a pair out.</summary>
    /// <returns>True when there was an entry to take out.</returns>
    public bool Remove(ulong key, uint id)
    {
        if (key == 0)
        {
            return false;
        }

        var hash = new IndexHash(key);
        var removed = _directory[hash.Segment(_depth)].Remove(key, hash, id, _keys);
        Count -= removed;
        return removed > 0;
    }

    /// <summary>Takes everything out. Memory is kept for the next round unless little of it was in use.</summary>
    public void Clear()
    {
        if (Bytes > _initialBytes && Count < Bytes / (4 * IndexSegment.BytesPerPlace))
        {
            Reset();
            return;
        }

        IndexSegment? previous = null;
        foreach (var segment in _directory)
        {
            if (!ReferenceEquals(segment, previous))
            {
                segment.Clear();
                previous = segment;
            }
        }

        Count = 0;
    }

    private void Reset()
    {
        _depth = 0;
        while (_depth < IndexHash.MaxDepth && _initialCapacity >> _depth > ComfortableSegment)
        {
            _depth++;
        }

        _directory = new IndexSegment[1 << _depth];
        var groups = Math.Min(IndexSegment.GroupsFor(_initialCapacity >> _depth), IndexSegment.MaxGroups);
        for (var i = 0; i < _directory.Length; i++)
        {
            _directory[i] = new IndexSegment(groups, _depth);
        }

        Count = 0;
        Bytes = DirectoryBytes + (_directory.Length * _directory[0].Bytes);
        _initialBytes = Bytes;
    }

    private long DirectoryBytes => (long)_directory.Length * nint.Size;

    /// <summary>
    /// Makes room in a full segment: throws out what is stale, then gives what remains a larger one, or two.
    /// </summary>
    private void Rebuild(IndexSegment segment, IndexHash hash)
    {
        var depth = segment.Depth;
        var rented = ArrayPool<(ulong Key, uint Id)>.Shared.Rent(segment.Count);
        var live = segment.CopyLive(hash, _keys, rented);
        var entries = rented.AsSpan(0, live);

        var split = IndexSegment.GroupsFor(live) > IndexSegment.MaxGroups && depth < IndexHash.MaxDepth;
        Count -= segment.Count;
        Bytes -= segment.Bytes;
        if (split)
        {
            Split(entries, hash, depth);
        }
        else
        {
            Fill(new IndexSegment(IndexSegment.GroupsFor(live + 1), depth), entries, hash.Segment(depth), depth);
        }

        ArrayPool<(ulong Key, uint Id)>.Shared.Return(rented);
    }

    private void Split(ReadOnlySpan<(ulong Key, uint Id)> entries, IndexHash hash, int depth)
    {
        if (depth == _depth)
        {
            DoubleDirectory();
        }

        var right = 0;
        foreach (var (key, _) in entries)
        {
            right += new IndexHash(key).Segment(depth + 1) & 1;
        }

        var half = hash.Segment(depth) * 2;
        var left = entries.Length - right;
        Fill(new IndexSegment(IndexSegment.GroupsFor(left + 1), depth + 1), entries, half, depth + 1);
        Fill(new IndexSegment(IndexSegment.GroupsFor(right + 1), depth + 1), entries, half + 1, depth + 1);
    }

    /// <summary>Puts those entries that belong there into a new segment and the segment into the directory.</summary>
    private void Fill(IndexSegment segment, ReadOnlySpan<(ulong Key, uint Id)> entries, int number, int depth)
    {
        foreach (var (key, id) in entries)
        {
            var hash = new IndexHash(key);
            if (hash.Segment(depth) == number)
            {
                var slot = segment.Look(hash, id);
                if (!slot.IsThere)
                {
                    segment.Put(slot.Place, hash, id);
                }
            }
        }

        _directory.AsSpan(number << (_depth - depth), 1 << (_depth - depth)).Fill(segment);
        Count += segment.Count;
        Bytes += segment.Bytes;
    }

    private void DoubleDirectory()
    {
        var larger = new IndexSegment[_directory.Length * 2];
        for (var i = 0; i < larger.Length; i++)
        {
            larger[i] = _directory[i / 2];
        }

        Bytes -= DirectoryBytes;
        _directory = larger;
        _depth++;
        Bytes += DirectoryBytes;
    }
}
