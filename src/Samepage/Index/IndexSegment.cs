using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Samepage;

/// <summary>
/// A small open-addressing table of ids: 16 places make a group, and a search goes from group to group until one has a
/// place that was never used. A place is an id and one byte of its key's hash, so that the keys of others, which lie
/// anywhere in memory, are almost never looked up.
/// </summary>
internal sealed class IndexSegment
{
    public const int PlacesPerGroup = 16;

    /// <summary>Bytes of one place.</summary>
    public const int BytesPerPlace = sizeof(uint) + sizeof(byte);

    /// <summary>
    /// A segment that needs more groups is split. Bounds what one Add may have to move (4,480 entries), and keeps the
    /// arrays out of the large object heap, where every discarded one would wait for a full collection.
    /// </summary>
    public const int MaxGroups = 320;

    // Load after growing and load at which it grows. Together with 5 bytes per place: 5.7 to 7.6 bytes per entry.
    private const double FreshLoad = 0.66;
    public const double FullLoad = 0.875;

    private readonly byte[] _tags;
    private readonly uint[] _ids;
    private readonly int _maxUsed;

    public IndexSegment(int groups, int depth)
    {
        _tags = new byte[groups * PlacesPerGroup];
        _ids = GC.AllocateUninitializedArray<uint>(groups * PlacesPerGroup);
        // At least one place is never used: every search ends.
        _maxUsed = (int)(groups * PlacesPerGroup * FullLoad);
        Depth = depth;
    }

    /// <summary>How many bits of the hash all keys of this segment have in common.</summary>
    public int Depth { get; }

    /// <summary>Number of entries, stale ones too.</summary>
    public int Count { get; private set; }

    /// <summary>Places that are not empty: entries and erased places.</summary>
    public int Used { get; private set; }

    public int Groups => _tags.Length / PlacesPerGroup;

    /// <summary>True when an empty place may not be taken any more.</summary>
    public bool IsFull => Used >= _maxUsed;

    public long Bytes => (long)_tags.Length * BytesPerPlace;

    /// <summary>Groups for that many entries and room to grow.</summary>
    public static int GroupsFor(long entries) =>
        Math.Max(1, (int)Math.Ceiling(Math.Min(entries, int.MaxValue / 2) / (PlacesPerGroup * FreshLoad)));

    /// <summary>Ids whose key is <paramref name="key"/> now, each once.</summary>
    public int Find(ulong key, IndexHash hash, IDigestKeys keys, Span<uint> ids)
    {
        var found = 0;
        var walk = new Walk(this, hash);
        while (found < ids.Length && walk.Next(out var place))
        {
            var id = _ids[place];
            if (keys.KeyOf(id) == key && !ids[..found].Contains(id))
            {
                ids[found++] = id;
            }
        }

        return found;
    }

    /// <summary>Reads the first group of a search.</summary>
    public uint Touch(IndexHash hash)
    {
        var place = hash.Group(Groups) * PlacesPerGroup;
        return _tags[place] + _ids[place] + _ids[place + PlacesPerGroup - 1];
    }

    /// <summary>An id whose key is <paramref name="key"/> now.</summary>
    /// <param name="key">The key.</param>
    /// <param name="hash">Its hash.</param>
    /// <param name="keys">Tells the keys of the ids.</param>
    /// <param name="id">The id, when there is one.</param>
    /// <param name="free">Where another may go, when there is none.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool TryFindFirst(ulong key, IndexHash hash, IDigestKeys keys, out uint id, out int free)
    {
        var walk = new Walk(this, hash);
        while (walk.Next(out var place))
        {
            if (keys.KeyOf(_ids[place]) == key)
            {
                (id, free) = (_ids[place], -1);
                return true;
            }
        }

        (id, free) = (0, walk.FirstFree);
        return false;
    }

    /// <summary>Whether the id is there, how many have the same tag, and where another may go.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public Slot Look(IndexHash hash, uint id)
    {
        var walk = new Walk(this, hash);
        var same = 0;
        while (walk.Next(out var place))
        {
            same++;
            if (_ids[place] == id)
            {
                return new Slot(place, same, IsThere: true);
            }
        }

        return new Slot(walk.FirstFree, same, IsThere: false);
    }

    /// <summary>A place whose id cannot be found by this key any more; -1 when all are current.</summary>
    public int FindStale(IndexHash hash, IDigestKeys keys)
    {
        var walk = new Walk(this, hash);
        while (walk.Next(out var place))
        {
            if (IsStale(place, keys.KeyOf(_ids[place]), hash.Segment(Depth)))
            {
                return place;
            }
        }

        return -1;
    }

    /// <summary>Puts an id where <see cref="Look"/> or <see cref="FindStale"/> said.</summary>
    public void Put(int place, IndexHash hash, uint id)
    {
        var before = _tags[place];
        Used += before == IndexHash.Empty ? 1 : 0;
        Count += before <= IndexHash.Erased ? 1 : 0;
        _tags[place] = hash.Tag;
        _ids[place] = id;
    }

    /// <summary>True when taking that place needs an empty one and none may be taken.</summary>
    public bool HasNoRoomAt(int place) => _tags[place] == IndexHash.Empty && IsFull;

    /// <summary>Takes entries of the pair out.</summary>
    /// <returns>How many there were.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public int Remove(ulong key, IndexHash hash, uint id, IDigestKeys keys)
    {
        var removed = 0;
        var walk = new Walk(this, hash);
        while (walk.Next(out var place))
        {
            if (_ids[place] != id)
            {
                continue;
            }

            var current = keys.KeyOf(id);
            if (current == key || IsStale(place, current, hash.Segment(Depth)))
            {
                Erase(place);
                removed++;
            }
        }

        return removed;
    }

    public void Clear()
    {
        Array.Clear(_tags);
        Used = 0;
        Count = 0;
    }

    /// <summary>
    /// The entries that are not stale, in the order searches meet them, in any case those of equal keys.
    /// </summary>
    /// <param name="hash">Hash of any key of this segment.</param>
    /// <param name="keys">Tells the keys of the ids.</param>
    /// <param name="entries">Room for <see cref="Count"/> entries.</param>
    /// <returns>Number of entries.</returns>
    public int CopyLive(IndexHash hash, IDigestKeys keys, Span<(ulong Key, uint Id)> entries)
    {
        // Start behind a group where searches end: no search passes from the last copied group to the first.
        var start = 0;
        while (!HasEmpty(start))
        {
            start++;
        }

        var live = 0;
        for (var i = 1; i <= Groups; i++)
        {
            var first = (start + i) % Groups * PlacesPerGroup;
            for (var place = first; place < first + PlacesPerGroup; place++)
            {
                if (_tags[place] <= IndexHash.Erased)
                {
                    continue;
                }

                var key = keys.KeyOf(_ids[place]);
                if (!IsStale(place, key, hash.Segment(Depth)))
                {
                    entries[live++] = (key, _ids[place]);
                }
            }
        }

        return live;
    }

    // Stale for sure. An id with another key, but the same tag, may be the entry of that key and is not.
    private bool IsStale(int place, ulong current, int segment)
    {
        var hash = new IndexHash(current);
        return current == 0 || hash.Tag != _tags[place] || hash.Segment(Depth) != segment;
    }

    private void Erase(int place)
    {
        var empty = HasEmpty(place / PlacesPerGroup);
        _tags[place] = empty ? IndexHash.Empty : IndexHash.Erased;
        Used -= empty ? 1 : 0;
        Count--;
    }

    private bool HasEmpty(int group) => _tags.AsSpan(group * PlacesPerGroup, PlacesPerGroup).Contains(IndexHash.Empty);

    /// <summary>What <see cref="Look"/> found.</summary>
    /// <param name="Place">The id's place, or the first free one.</param>
    /// <param name="SameTag">Entries met that have the same tag, mostly those with the same key.</param>
    /// <param name="IsThere">True when the id has an entry already.</param>
    public readonly record struct Slot(int Place, int SameTag, bool IsThere);

    /// <summary>Goes over the places that have the tag of a hash, in search order.</summary>
    private ref struct Walk
    {
        private readonly ReadOnlySpan<Vector128<byte>> _groups;
        private readonly Vector128<byte> _tag;
        private uint _matches;
        private int _group;
        private bool _ends;

        public Walk(IndexSegment segment, IndexHash hash)
        {
            _groups = MemoryMarshal.Cast<byte, Vector128<byte>>(segment._tags.AsSpan());
            _tag = Vector128.Create(hash.Tag);
            _group = hash.Group(_groups.Length);
            FirstFree = -1;
            Load();
        }

        /// <summary>First place met that holds no entry; there is one when the walk has ended.</summary>
        public int FirstFree { get; private set; }

        public bool Next(out int place)
        {
            while (_matches == 0)
            {
                if (_ends)
                {
                    place = -1;
                    return false;
                }

                _group = _group + 1 == _groups.Length ? 0 : _group + 1;
                Load();
            }

            place = (_group * PlacesPerGroup) + System.Numerics.BitOperations.TrailingZeroCount(_matches);
            _matches &= _matches - 1;
            return true;
        }

        private void Load()
        {
            var tags = _groups[_group];
            _matches = Vector128.Equals(tags, _tag).ExtractMostSignificantBits();
            _ends = Vector128.Equals(tags, Vector128<byte>.Zero).ExtractMostSignificantBits() != 0;
            if (FirstFree < 0)
            {
                var free = Vector128.LessThanOrEqual(tags, Vector128.Create(IndexHash.Erased));
                var bits = free.ExtractMostSignificantBits();
                FirstFree = bits == 0
                    ? -1
                    : (_group * PlacesPerGroup) + System.Numerics.BitOperations.TrailingZeroCount(bits);
            }
        }
    }
}
