namespace Samepage;

/// <summary>
/// A queue of page ids kept as runs, because pages change in runs: eight bytes for consecutive pages of a chunk
/// however many there are.
/// </summary>
internal sealed class PageRunList
{
    private Run[] _runs = [];
    private int _count;
    private int _head;

    public bool IsEmpty => _head == _count;

    public long Bytes => _runs.Length * 8L;

    /// <summary>Runs still queued.</summary>
    public int RunsLeft => _count - _head;

    public void Add(uint id)
    {
        if (_count > _head)
        {
            ref Run last = ref _runs[_count - 1];
            if (last.First + last.Length == id && (id & PageTable.OffsetMask) != 0)
            {
                last.Length++;
                return;
            }
        }

        if (_count == _runs.Length)
        {
            Array.Resize(ref _runs, Math.Max(16, _count + (_count / 2)));
        }

        _runs[_count++] = new Run { First = id, Length = 1 };
    }

    /// <summary>Takes the next id out.</summary>
    public bool TryTake(out uint id)
    {
        if (_head == _count)
        {
            Reset();
            id = 0;
            return false;
        }

        ref Run run = ref _runs[_head];
        id = run.First++;
        if (--run.Length == 0)
        {
            _head++;
        }

        return true;
    }

    /// <summary>
    /// Empties the queue. Keeps a small buffer: a large one was for a first pass that does not come back.
    /// </summary>
    public void Reset()
    {
        _head = 0;
        _count = 0;
        if (_runs.Length > 1024)
        {
            _runs = [];
        }
    }

    private struct Run
    {
        public uint First;
        public uint Length;
    }
}
