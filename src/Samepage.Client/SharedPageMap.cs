using System.Diagnostics.CodeAnalysis;

namespace Samepage;

/// <summary>
/// A notifier that knows which pages of a process are shared, and where in which store: what is told to it, put
/// together. Thread-safe. Since 0.1.
/// </summary>
public sealed class SharedPageMap : IMmuNotifier
{
    private readonly Lock _lock = new();
    private readonly SortedDictionary<ulong, (string Store, ulong Offset)> _pages = [];

    /// <summary>Number of shared pages.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _pages.Count;
            }
        }
    }

    /// <summary>True once the process is gone or was let go: nothing will be told any more.</summary>
    public bool IsReleased { get; private set; }

    /// <summary>Where the page at an address is shared from.</summary>
    /// <param name="address">Any byte address in the page.</param>
    /// <param name="store">Trust domain of the store.</param>
    /// <param name="offset">Byte offset of the page in it.</param>
    /// <returns>False when the page is not shared.</returns>
    public bool TryFind(ulong address, [NotNullWhen(true)] out string? store, out ulong offset)
    {
        lock (_lock)
        {
            bool found = _pages.TryGetValue(address >> PageSize.Shift, out (string Store, ulong Offset) page);
            (store, offset) = (page.Store, page.Offset);
            return found;
        }
    }

    /// <summary>All shared pages in address order, consecutive ones put together.</summary>
    public IReadOnlyList<PteChange> Runs()
    {
        var runs = new List<PteChange>();
        lock (_lock)
        {
            foreach ((ulong page, (string store, ulong offset)) in _pages)
            {
                if (runs.Count > 0 && runs[^1] is var last && last.End == page << PageSize.Shift
                    && last.Store == store && last.StoreOffset + last.Length == offset)
                {
                    runs[^1] = last with { Length = last.Length + PageSize.Bytes };
                }
                else
                {
                    runs.Add(new PteChange(page << PageSize.Shift, PageSize.Bytes, MmuEvent.Shared, store, offset));
                }
            }
        }

        return runs;
    }

    /// <inheritdoc/>
    public void ChangePte(in PteChange change)
    {
        lock (_lock)
        {
            ulong first = change.Address >> PageSize.Shift, end = change.End >> PageSize.Shift;
            if (change.Kind == MmuEvent.Shared)
            {
                for (ulong page = first; page < end; page++)
                {
                    _pages[page] = (change.Store!, change.StoreOffset + ((page - first) << PageSize.Shift));
                }
            }
            else if (change.Kind != MmuEvent.WriteProtected)
            {
                Remove(first, end);
            }
        }
    }

    /// <inheritdoc/>
    public void InvalidatePage(ulong address)
    {
        lock (_lock)
        {
            _ = _pages.Remove(address >> PageSize.Shift);
        }
    }

    /// <inheritdoc/>
    public void InvalidateRangeStart(ulong start, ulong end)
    {
        lock (_lock)
        {
            Remove(start >> PageSize.Shift, end >> PageSize.Shift);
        }
    }

    /// <inheritdoc/>
    public void Release()
    {
        lock (_lock)
        {
            _pages.Clear();
            IsReleased = true;
        }
    }

    private void Remove(ulong first, ulong end)
    {
        if (end - first < (ulong)_pages.Count)
        {
            for (ulong page = first; page < end; page++)
            {
                _ = _pages.Remove(page);
            }

            return;
        }

        foreach (ulong page in _pages.Keys.Where(page => page >= first && page < end).ToArray())
        {
            _ = _pages.Remove(page);
        }
    }
}
