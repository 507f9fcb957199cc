using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>
/// A process of a <see cref="MemoryMachine"/>: what the program in it may do (Write, Read, Drop, Map, Unmap, Move,
/// Fork, Exit), and what the engine may (<see cref="ITarget"/>).
/// </summary>
public sealed partial class MemoryProcess(MemoryMachine machine, int pid) : ITarget, IObservedProcess
{
    private const int ChunkPages = 512;

    private readonly SortedList<ulong, Entry[]> _chunks = [];
    private readonly List<PageRange> _mapped = [];
    private readonly List<PageRange> _regions = [];
    private readonly long[] _notMerged = new long[NotMergedReasonNames.Count];
    private bool _regionsChanged = true;

    private delegate void EntryAction(ref Entry entry);

    private enum Backing : byte
    {
        /// <summary>No page: reads as zeros.</summary>
        None,
        Anonymous,
        Store,
    }

    public int Pid { get; } = pid;

    public string Name => $"p{Pid}";

    public bool IsAlive { get; private set; } = true;

    public int VmaCount => _mapped.Count;

    public IReadOnlyList<PageRange> Regions => _regions;

    public ReadOnlySpan<long> NotMergedPages => _notMerged;

    public long PrivatePages => Count(entry => entry.Backing == Backing.Anonymous);

    public long StorePages => Count(entry => entry.Backing == Backing.Store);

    public static IEnumerable<ulong> PagesOf(PageRange range)
    {
        for (ulong page = range.Start; page < range.End; page++)
        {
            yield return page;
        }
    }

    /// <summary>The bytes of the page as the program sees them.</summary>
    public PageContent ContentOf(ulong page)
    {
        ref Entry entry = ref At(page);
        return Visible(entry);
    }

    public void Write(ulong page, ulong word) => Write(page, PageContent.Of(word));

    public void Write(ulong page, PageContent content)
    {
        Assert.True(IsMapped(page), $"page {page:x} is not mapped");
        ref Entry entry = ref At(page);
        Release(entry);
        entry.Store = null;
        entry.Backing = Backing.Anonymous;
        entry.Content = content;
        entry.Expected = content;
        entry.Changed = true;
    }

    /// <summary>Writes a page of its own content each.</summary>
    public void Fill(PageRange range, Func<ulong, ulong> word)
    {
        foreach (ulong page in PagesOf(range))
        {
            Write(page, word(page));
        }
    }

    /// <summary>MADV_DONTNEED.</summary>
    public void Drop(ulong page)
    {
        ref Entry entry = ref At(page);
        Release(entry);
        entry = new Entry { InStoreMapping = entry.InStoreMapping };
    }

    public void Map(PageRange range)
    {
        _mapped.Add(range);
        _mapped.Sort((x, y) => x.Start.CompareTo(y.Start));
        _regionsChanged = true;
    }

    public void Unmap(PageRange range)
    {
        foreach (ulong page in PagesOf(range))
        {
            Release(At(page));
            At(page) = default;
        }

        var left = new List<PageRange>();
        foreach (PageRange mapped in _mapped)
        {
            if (mapped.Start < Math.Min(range.Start, mapped.End))
            {
                left.Add(new PageRange(mapped.Start, Math.Min(range.Start, mapped.End)));
            }

            if (Math.Max(range.End, mapped.Start) < mapped.End)
            {
                left.Add(new PageRange(Math.Max(range.End, mapped.Start), mapped.End));
            }
        }

        _mapped.Clear();
        _mapped.AddRange(left);
        _regionsChanged = true;
    }

    /// <summary>mremap to another place.</summary>
    public void Move(PageRange from, ulong to)
    {
        var entries = PagesOf(from).Select(page => At(page)).ToArray();
        Unmap(from);
        Map(new PageRange(to, to + from.Count));
        for (int i = 0; i < entries.Length; i++)
        {
            At(to + (ulong)i) = entries[i];
            // Never listed at that address.
            At(to + (ulong)i).Changed |= entries[i].Backing == Backing.Anonymous;
            entries[i].Store?.CountMapping(entries[i].Slot, 1);
        }
    }

    /// <summary>A child with the same pages, which nobody registers.</summary>
    public MemoryProcess Fork()
    {
        var child = new MemoryProcess(machine, Pid + 100000);
        child._mapped.AddRange(_mapped);
        foreach ((ulong start, Entry[] entries) in _chunks)
        {
            child._chunks.Add(start, (Entry[])entries.Clone());
        }

        child.ForEach((ref Entry entry) => entry.Store?.CountMapping(entry.Slot, 1));
        machine.Add(child);
        return child;
    }

    public void Exit()
    {
        IsAlive = false;
        ForEach((ref Entry entry) => Release(entry));
        _chunks.Clear();
    }

    /// <summary>The slots its pages are mapped from, once each time.</summary>
    public IEnumerable<uint> SlotsMapped() =>
        _chunks.Values.SelectMany(entries => entries)
            .Where(entry => entry.Backing == Backing.Store).Select(entry => entry.Slot);

    public IReadOnlyList<PageRange> Mapped => _mapped;

    /// <summary>A new daemon tracks writes from its own start: every page counts as changed.</summary>
    public void ForgetTracking()
    {
        _regionsChanged = true;
        ForEach((ref Entry entry) => entry.Changed = true);
    }

    public void Rebind(MemoryStore old, MemoryStore reopened)
    {
        ForEach((ref Entry entry) =>
        {
            if (entry.Store == old)
            {
                entry.Store = reopened;
                reopened.CountMapping(entry.Slot, 1);
            }
        });
    }

    public void SetNotMerged(NotMergedReason reason, long pages) => _notMerged[(int)reason] = pages;

    public void CheckSlots(List<string> wrong)
    {
        foreach ((ulong start, Entry[] entries) in _chunks)
        {
            for (int i = 0; i < entries.Length; i++)
            {
                if (IsLost(entries[i]))
                {
                    wrong.Add($"{Name} maps slot {entries[i].Slot} at page {start + (ulong)i:x}, which was given back");
                }
            }
        }
    }

    public IEnumerable<ObservedPage> Observe()
    {
        foreach ((ulong start, Entry[] entries) in _chunks)
        {
            for (int i = 0; i < entries.Length; i++)
            {
                Entry entry = entries[i];
                if ((entry.Backing != Backing.None || entry.Expected != default) && !IsLost(entry))
                {
                    PageContent content = Visible(entry);
                    yield return new ObservedPage(
                        start + (ulong)i,
                        new UInt128(entry.Expected.First, entry.Expected.Second),
                        new UInt128(content.First, content.Second),
                        entry.Backing == Backing.Store,
                        entry.Backing == Backing.Anonymous,
                        entry.Store?.Domain,
                        entry.Slot);
                }
            }
        }
    }

    private static bool IsLost(in Entry entry) =>
        entry.Backing == Backing.Store && !entry.Store!.SlotsUsed.Contains(entry.Slot);

    private static PageContent Visible(in Entry entry) => entry.Backing switch
    {
        Backing.None => PageContent.Zero,
        Backing.Anonymous => entry.Content,
        _ => entry.Store!.ContentOf(entry.Slot),
    };

    private static void Release(in Entry entry) => entry.Store?.CountMapping(entry.Slot, -1);

    private void ForEach(EntryAction action)
    {
        foreach (Entry[] entries in _chunks.Values)
        {
            foreach (ref Entry entry in entries.AsSpan())
            {
                action(ref entry);
            }
        }
    }

    private bool IsMapped(ulong page) => _mapped.Exists(range => range.Contains(page));

    private ref Entry At(ulong page)
    {
        ulong start = page & ~(ulong)(ChunkPages - 1);
        if (!_chunks.TryGetValue(start, out Entry[]? entries))
        {
            entries = new Entry[ChunkPages];
            _chunks.Add(start, entries);
        }

        return ref entries[page - start];
    }

    private long Count(Predicate<Entry> which)
    {
        long count = 0;
        foreach (Entry[] entries in _chunks.Values)
        {
            foreach (Entry entry in entries)
            {
                count += which(entry) ? 1 : 0;
            }
        }

        return count;
    }

    private struct Entry
    {
        public PageContent Content;
        public PageContent Expected;
        public MemoryStore? Store;
        public uint Slot;
        public Backing Backing;
        public bool Changed;
        public bool InStoreMapping;
    }
}
