namespace Samepage;

/// <summary>
/// Pages of one target that are read and digested together: enough of them that a call into the machine costs little,
/// few enough that their bytes are still in the cache when they are digested and, maybe, written to the store. There is
/// one, which scanner and matcher use in turn; whoever used it leaves it empty.
/// </summary>
internal sealed class PageBatch
{
    /// <summary>64 KiB of bytes. More are not read quicker: the kernel takes 16 pages at a time.</summary>
    public const int PagesMax = 16;

    /// <summary>Memory of a batch, in bytes.</summary>
    public const long MemoryBytes = PagesMax * (PageSize.Bytes + 64L);

    private readonly PageRange[] _ranges = new PageRange[PagesMax];
    private readonly PageRange[] _rest = new PageRange[PagesMax];
    private readonly uint[] _ids = new uint[PagesMax];
    private readonly bool[] _read = new bool[PagesMax];
    private readonly UInt128[] _digests = new UInt128[PagesMax];
    private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(PagesMax * PageSize.Bytes);
    private int _rangeCount;

    public int Count { get; private set; }

    public bool IsFull => Count == PagesMax;

    /// <summary>Adds the page after all that are there already; <paramref name="id"/> is its id.</summary>
    public void Add(ulong page, uint id)
    {
        if (_rangeCount > 0 && _ranges[_rangeCount - 1].End == page)
        {
            _ranges[_rangeCount - 1] = new PageRange(_ranges[_rangeCount - 1].Start, page + 1);
        }
        else
        {
            _ranges[_rangeCount++] = new PageRange(page, page + 1);
        }

        _ids[Count++] = id;
    }

    public void Clear()
    {
        Count = 0;
        _rangeCount = 0;
    }

    public uint IdAt(int index) => _ids[index];

    /// <summary>False for a page that could not be read.</summary>
    public bool WasRead(int index) => _read[index];

    public ulong KeyAt(int index) => PageKey.Of(_digests[index]);

    public ReadOnlySpan<byte> Bytes(int first, int count) =>
        _bytes.AsSpan(first * PageSize.Bytes, count * PageSize.Bytes);

    /// <summary>Reads all pages and digests them.</summary>
    public void Read(ITarget target, PageDigester digester)
    {
        int done = 0;
        bool alive = true;
        while (done < Count)
        {
            int read = alive ? target.Read(RangesFrom(done), _bytes.AsSpan(done * PageSize.Bytes)) : 0;
            Invariant.Check(read >= 0 && read <= Count - done);
            _read.AsSpan(done, read).Fill(true);
            done += read;
            if (done < Count)
            {
                _read[done++] = false;
                alive = alive && target.IsAlive;
            }
        }

        digester.Digest(_bytes.AsSpan(0, Count * PageSize.Bytes), _digests.AsSpan(0, Count));
    }

    private ReadOnlySpan<PageRange> RangesFrom(int skip)
    {
        if (skip == 0)
        {
            return _ranges.AsSpan(0, _rangeCount);
        }

        int kept = 0;
        ulong left = (ulong)skip;
        for (int i = 0; i < _rangeCount; i++)
        {
            PageRange range = _ranges[i];
            ulong cut = Math.Min(left, range.Count);
            left -= cut;
            if (cut < range.Count)
            {
                _rest[kept++] = range with { Start = range.Start + cut };
            }
        }

        return _rest.AsSpan(0, kept);
    }
}
