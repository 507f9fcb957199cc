namespace Samepage.Linux.Tests.Interception;

/// <summary>What a model of /dev/ksm gets wrong on purpose, to show that the comparison would notice.</summary>
internal enum DeviceFlaw
{
    None,

    /// <summary>An unknown number on an area fails with -EINVAL, as any other driver would have it.</summary>
    UnknownNumberFails,

    /// <summary>An area's regions outlive its last descriptor.</summary>
    ClosingKeepsRegions,

    /// <summary>The driver is taken to round addresses up.</summary>
    AddressesRoundUp,
}

/// <summary>What a descriptor of the program stands for.</summary>
internal enum DeviceFileKind
{
    Closed,
    Device,
    Area,
    Null,

    /// <summary>Opened with O_PATH: it names a file and carries no calls.</summary>
    PathOnly,
}

/// <summary>An open descriptor.</summary>
/// <param name="Kind">What it stands for.</param>
/// <param name="Area">Number of its shared memory area; 0 for none.</param>
/// <param name="ClosesOnExec">It is close-on-exec.</param>
internal readonly record struct DeviceFile(DeviceFileKind Kind, int Area, bool ClosesOnExec);

/// <summary>
/// /dev/ksm as docs/ksm-interfaces.md promises it, for one program with children: which answers it gives, and which
/// pages of a window each process has registered.
/// </summary>
internal sealed class DeviceModel(int pages, int self, IEnumerable<int> taken, DeviceFlaw flaw)
{
    public const uint GetVersion = 0xAB00, Create = 0xAB01, Register = 0x4018AB20, RegisterShort = 0x4010AB20,
        Remove = 0xAB21;

    public const int EBADF = 9, EFAULT = 14, EINVAL = 22, ENOTTY = 25;

    private readonly HashSet<int> _taken = [.. taken];
    private readonly SortedDictionary<int, DeviceFile> _files = [];
    private readonly Dictionary<int, HashSet<int>> _heldByChildren = [];
    private readonly Dictionary<(int Area, int Process), bool[]> _regions = [];
    private int _areas;

    public IReadOnlyCollection<int> Descriptors => _files.Keys;

    public IReadOnlyCollection<int> Children => _heldByChildren.Keys;

    public DeviceFile this[int descriptor] => _files.GetValueOrDefault(descriptor);

    /// <summary>The number the next descriptor gets.</summary>
    public int Next
    {
        get
        {
            int number = 0;
            while (_taken.Contains(number) || _files.ContainsKey(number))
            {
                number++;
            }

            return number;
        }
    }

    /// <summary>Pages a process has registered in any area.</summary>
    public bool[] RegisteredBy(int process)
    {
        var all = new bool[pages];
        foreach (bool[] some in _regions.Where(region => region.Key.Process == process).Select(region => region.Value))
        {
            for (int page = 0; page < pages; page++)
            {
                all[page] |= some[page];
            }
        }

        return all;
    }

    /// <summary>What an ioctl on a descriptor answers.</summary>
    public Answer Answers(int descriptor, uint number, bool canBeRead = true) => this[descriptor].Kind switch
    {
        DeviceFileKind.Closed or DeviceFileKind.PathOnly => Answer.Error(EBADF),
        DeviceFileKind.Null => Answer.Error(ENOTTY),
        _ when (number & 0xff00) != 0xAB00 => Answer.Error(ENOTTY), // null device and pipe have no such number
        DeviceFileKind.Device => number switch
        {
            GetVersion => new Answer(1, 0),
            Create => new Answer(Next, 0),
            _ => Answer.Error(EINVAL),
        },
        _ => number switch
        {
            Register or RegisterShort => canBeRead ? Answer.Ok : Answer.Error(EFAULT),
            Remove => Answer.Ok,
            _ => flaw == DeviceFlaw.UnknownNumberFails ? Answer.Error(EINVAL) : new Answer(EINVAL, 0),
        },
    };

    public void Open(DeviceFileKind kind, bool closesOnExec) => _files[Next] = new DeviceFile(kind, 0, closesOnExec);

    public void CreateArea() => _files[Next] = new DeviceFile(DeviceFileKind.Area, ++_areas, false);

    public void Duplicate(int descriptor) => _files[Next] = this[descriptor] with { ClosesOnExec = false };

    public void Close(int descriptor)
    {
        _files.Remove(descriptor);
        DropClosed();
    }

    /// <summary>The calling process registers a region.</summary>
    /// <param name="descriptor">The area's.</param>
    /// <param name="process">Who calls.</param>
    /// <param name="offset">Bytes from the start of the window; may be negative.</param>
    /// <param name="count">Pages.</param>
    public void AddRegion(int descriptor, int process, long offset, long count)
    {
        (int, int) key = (this[descriptor].Area, process);
        if (!_regions.TryGetValue(key, out bool[]? flags))
        {
            _regions.Add(key, flags = new bool[pages]);
        }

        long first = (offset + (flaw == DeviceFlaw.AddressesRoundUp ? 4095 : 0)) >> 12;
        for (long page = Math.Max(first, 0); page < Math.Min(first + count, pages); page++)
        {
            flags[page] = true;
        }
    }

    /// <summary>Removes the regions of all processes from an area.</summary>
    public void Empty(int descriptor) => Drop(key => key.Area == this[descriptor].Area);

    /// <summary>A child that stays; it has a copy of every descriptor.</summary>
    public void Fork(int child) =>
        _heldByChildren.Add(child, [.. _files.Values.Select(file => file.Area)]);

    public void End(int child)
    {
        _heldByChildren.Remove(child);
        Drop(key => key.Process == child);
        DropClosed();
    }

    public void Execute()
    {
        Drop(key => key.Process == self);
        foreach (int descriptor in _files.Where(file => file.Value.ClosesOnExec).Select(file => file.Key).ToList())
        {
            Close(descriptor);
        }
    }

    private void DropClosed()
    {
        if (flaw != DeviceFlaw.ClosingKeepsRegions)
        {
            Drop(key => _files.Values.All(file => file.Area != key.Area || file.Kind != DeviceFileKind.Area)
                && _heldByChildren.Values.All(held => !held.Contains(key.Area)));
        }
    }

    private void Drop(Func<(int Area, int Process), bool> which)
    {
        foreach ((int, int) key in _regions.Keys.Where(which).ToList())
        {
            _regions.Remove(key);
        }
    }
}
