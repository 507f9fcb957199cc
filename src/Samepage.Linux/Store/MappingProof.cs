using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Memory;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Store;

/// <summary>Says which store pages nobody can see any more.</summary>
internal interface IReclaimProof
{
    /// <summary>Sets <paramref name="unmapped"/> for each slot that is proven free; leaves the others false.</summary>
    void FindUnmapped(ReadOnlySpan<uint> slots, Span<bool> unmapped);
}

/// <summary>
/// The proof that a slot may be freed, in two parts that cover for each other:
/// <list type="number">
/// <item>No private mapping of any process covers the slot, by /proc/*/maps. (Shared ones are the windows through which
/// merge programs compare: they have no memory of an application in them, and show what the store has now.) A process
/// that forks while the list is being read could slip through, so the reading is repeated until two readings agree on
/// who maps the store.</item>
/// <item>No page-table entry anywhere points to the page, by /proc/kpagecount, less our own look at it. A fork copies
/// the entries of a merged mapping (it is registered with userfaultfd) before its parent's can go away, so the count
/// never passes through zero while somebody still sees the page; nor does a process outside our pid namespace hide
/// from it.</item>
/// </list>
/// What cannot be read proves nothing, and then nothing is freed. Only a process we are not permitted to look into
/// (a more privileged one; never a target, which we trace, nor a child of one) is left to the second part alone.
/// </summary>
internal sealed class MappingProof(FileIdentity store, SafeFileHandle readOnly) : IReclaimProof
{
    /// <summary>Readings of /proc before giving up for this time.</summary>
    internal const int ReadingsMax = 5;

    private const int PagesPerWindow = 512;

    private readonly ProcBuffer _buffer = new();
    private readonly List<int> _pids = [];
    private readonly List<int> _threads = [];

    public void FindUnmapped(ReadOnlySpan<uint> slots, Span<bool> unmapped)
    {
        FindUncovered(slots, unmapped);
        if (unmapped.Contains(true))
        {
            ExcludeCounted(slots, unmapped);
        }
    }

    /// <summary>Part one: sets the slots that no mapping of any process covers.</summary>
    internal void FindUncovered(ReadOnlySpan<uint> slots, Span<bool> unmapped)
    {
        List<PageRange> covered = [];
        if (!TryFindMappings(covered))
        {
            return;
        }

        covered.Sort((a, b) => a.Start.CompareTo(b.Start));
        for (int i = 0; i < slots.Length; i++)
        {
            unmapped[i] = !IsCovered(covered, slots[i]);
        }
    }

    private static bool IsCovered(List<PageRange> covered, uint slot)
    {
        foreach (PageRange range in covered)
        {
            if (range.Start > slot)
            {
                return false;
            }

            if (range.Contains(slot))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Collects the slots any process maps, in slots as page numbers; false when that cannot be
    /// told.</summary>
    private bool TryFindMappings(List<PageRange> covered)
    {
        HashSet<int> before = [];
        for (int reading = 0; reading < ReadingsMax; reading++)
        {
            HashSet<int> mappers = [];
            if (!TryReadAll(covered, mappers))
            {
                return false;
            }

            // With nobody mapping it, nobody can fork with a mapping of it.
            if (mappers.Count == 0 || (reading > 0 && mappers.SetEquals(before)))
            {
                return true;
            }

            before = mappers;
        }

        return false;
    }

    private bool TryReadAll(List<PageRange> covered, HashSet<int> mappers)
    {
        using SafeFileHandle root = Fcntl.OpenAt(
            null, "/proc", Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC);
        _pids.Clear();
        if (root.IsInvalid || !DirectoryEntries.ReadNumbers(root, _pids))
        {
            return false;
        }

        foreach (int pid in _pids)
        {
            using ProcReader? proc = ProcReader.TryOpen(pid);
            if (proc is not null && !TryReadOne(proc, covered, mappers))
            {
                return false;
            }
        }

        return true;
    }

    private bool TryReadOne(ProcReader proc, List<PageRange> covered, HashSet<int> mappers)
    {
        int errno = proc.Read("maps", _buffer);
        if (errno != 0)
        {
            return IsGoneOrForbidden(errno);
        }

        if (_buffer.Length > 0)
        {
            return Collect(proc.Pid, covered, mappers);
        }

        // A kernel thread or a zombie. But a zombie that is only the first thread of a process that runs on shows
        // no mappings under its own number; its threads do.
        if (!proc.TryReadThreads(_threads))
        {
            return true;
        }

        foreach (int thread in _threads)
        {
            errno = thread == proc.Pid ? Errno.ENOENT : proc.Read($"task/{thread}/maps", _buffer);
            if (errno == 0 && !Collect(proc.Pid, covered, mappers))
            {
                return false;
            }

            if (errno != 0 && !IsGoneOrForbidden(errno))
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsGoneOrForbidden(int errno) =>
        errno is Errno.ENOENT or Errno.ESRCH or Errno.EACCES or Errno.EPERM;

    private bool Collect(int pid, List<PageRange> covered, HashSet<int> mappers)
    {
        MapsParser parser = new(_buffer.Text);
        while (parser.TryNext(out MapsLine map))
        {
            if (map.File == store && !map.IsShared)
            {
                ulong first = map.Offset >> PageSize.Shift;
                covered.Add(new PageRange(first, first + map.Pages.Count));
                _ = mappers.Add(pid);
            }
        }

        return parser.Malformed == 0;
    }

    /// <summary>Part two: takes back the verdict for every page that some page-table entry points to.</summary>
    internal void ExcludeCounted(ReadOnlySpan<uint> slots, Span<bool> unmapped)
    {
        using SafeFileHandle counts = Fcntl.OpenAt(null, "/proc/kpagecount", Fcntl.O_RDONLY | Fcntl.O_CLOEXEC);
        using ProcReader? self = ProcReader.TryOpen(Environment.ProcessId);
        if (counts.IsInvalid || self is null)
        {
            unmapped.Clear();
            return;
        }

        using PagemapScanner pagemap = PagemapScanner.Open(self);
        for (int i = 0; i < slots.Length;)
        {
            int length = 1;
            while (i + length < slots.Length && length < PagesPerWindow && slots[i + length] == slots[i] + (uint)length)
            {
                length++;
            }

            ExcludeWindow(slots[i], unmapped.Slice(i, length), counts, pagemap);
            i += length;
        }
    }

    private void ExcludeWindow(uint slot, Span<bool> unmapped, SafeFileHandle counts, PagemapScanner pagemap)
    {
        nuint bytes = (nuint)unmapped.Length * PageSize.Bytes;
        nint window = Mman.mmap(0, bytes, Mman.PROT_READ, Mman.MAP_SHARED, readOnly, (long)slot * PageSize.Bytes);
        if (window == Mman.MAP_FAILED)
        {
            unmapped.Clear();
            return;
        }

        try
        {
            // Populating instead of touching: where a slot has no page and the store no memory it fails, not faults.
            PagemapEntry[] entries = new PagemapEntry[unmapped.Length];
            if (Mman.madvise(window, bytes, Mman.MADV_POPULATE_READ) != 0 ||
                pagemap.ReadEntries((ulong)window >> PageSize.Shift, entries) != entries.Length)
            {
                unmapped.Clear();
                return;
            }

            Span<ulong> count = stackalloc ulong[1];
            for (int i = 0; i < entries.Length; i++)
            {
                ulong frame = entries[i].PageFrame;
                // Exactly one entry points to the page: ours. (Frame 0 is what the unprivileged are shown.)
                unmapped[i] &= frame != 0 &&
                    Fcntl.Read(counts, MemoryMarshal.AsBytes(count), (long)frame * sizeof(ulong)) == sizeof(ulong) &&
                    count[0] == 1;
            }
        }
        finally
        {
            _ = Mman.munmap(window, bytes);
        }
    }
}
