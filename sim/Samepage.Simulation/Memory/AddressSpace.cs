namespace Samepage.Simulation;

/// <summary>A virtual memory area: pages with the same rights.</summary>
/// <param name="Range">Its pages.</param>
/// <param name="IsWritable">May be written.</param>
public readonly record struct Vma(PageRange Range, bool IsWritable);

/// <summary>
/// The address space of a process: areas, page table, notifiers. Changed by <see cref="MemoryManager"/> only.
/// </summary>
public sealed class AddressSpace
{
    private readonly List<Vma> _vmas = [];

    internal AddressSpace(int id)
    {
        Id = id;
    }

    internal int Id { get; }

    /// <summary>Who is told when entries change.</summary>
    public MmuNotifiers Notifiers { get; } = new();

    /// <summary>Areas, sorted and disjoint.</summary>
    public IReadOnlyList<Vma> Vmas => _vmas;

    internal RadixTable<ulong> Table { get; } = new();

    /// <summary>False once the process has exited.</summary>
    internal bool IsAlive { get; set; } = true;

    /// <summary>
    /// Somebody holds the space's lock for reading: pages may come, change and go, but the areas may not, and
    /// nobody may fork or exit before he is done (the kernel's mmap_lock).
    /// </summary>
    internal bool IsLocked { get; set; }

    /// <summary>Pages whose entry is a place in swap.</summary>
    internal long SwappedPages { get; set; }

    /// <summary>Goes up with every change of <see cref="Vmas"/>.</summary>
    internal long Version { get; private set; }

    /// <summary>The entry of a page.</summary>
    public Pte PteOf(ulong page) => new(Table.Get(page));

    public bool TryFindVma(ulong page, out Vma vma)
    {
        int low = 0;
        int high = _vmas.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            vma = _vmas[middle];
            if (vma.Range.Contains(page))
            {
                return true;
            }

            if (page < vma.Range.Start)
            {
                high = middle - 1;
            }
            else
            {
                low = middle + 1;
            }
        }

        vma = default;
        return false;
    }

    internal MappingKey KeyOf(ulong page) => new(Id, page);

    /// <summary>Adds an area. Joins neighbours with the same rights.</summary>
    internal void AddVma(Vma vma)
    {
        int index = _vmas.FindIndex(other => other.Range.Start >= vma.Range.Start);
        index = index < 0 ? _vmas.Count : index;
        Invariant.Check(index == _vmas.Count || _vmas[index].Range.Start >= vma.Range.End);
        Invariant.Check(index == 0 || _vmas[index - 1].Range.End <= vma.Range.Start);
        _vmas.Insert(index, vma);
        JoinWithNext(index);
        if (index > 0)
        {
            JoinWithNext(index - 1);
        }

        Version++;
    }

    /// <summary>Takes pages out of the areas.</summary>
    /// <returns>The areas' parts inside the range.</returns>
    internal List<Vma> CutOut(PageRange range)
    {
        var inside = new List<Vma>();
        var left = new List<Vma>();
        foreach (Vma vma in _vmas)
        {
            PageRange cut = vma.Range.Intersect(range);
            if (cut.IsEmpty)
            {
                left.Add(vma);
                continue;
            }

            inside.Add(vma with { Range = cut });
            if (vma.Range.Start < cut.Start)
            {
                left.Add(vma with { Range = new PageRange(vma.Range.Start, cut.Start) });
            }

            if (cut.End < vma.Range.End)
            {
                left.Add(vma with { Range = new PageRange(cut.End, vma.Range.End) });
            }
        }

        _vmas.Clear();
        _vmas.AddRange(left);
        Version++;
        return inside;
    }

    internal void CopyVmas(AddressSpace other) => _vmas.AddRange(other._vmas);

    private void JoinWithNext(int index)
    {
        if (index + 1 < _vmas.Count && _vmas[index].Range.End == _vmas[index + 1].Range.Start
            && _vmas[index].IsWritable == _vmas[index + 1].IsWritable)
        {
            _vmas[index] = _vmas[index] with
            {
                Range = new PageRange(_vmas[index].Range.Start, _vmas[index + 1].Range.End),
            };
            _vmas.RemoveAt(index + 1);
        }
    }
}
