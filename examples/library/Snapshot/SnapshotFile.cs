namespace Samepage.Examples;

/// <summary>
/// The file: pages, 4096 bytes each, in the order they were first met; then an index; then the index's place and size.
/// The index says for each process and each of its pages which page of the file it is; -1 is a page of zeros.
/// </summary>
internal sealed class SnapshotFile : IDisposable
{
    private const long Zeros = -1;
    private const int TrailerBytes = 16;
    private readonly FileStream _file;
    private readonly BinaryWriter _index;
    private readonly MemoryStream _indexBytes = new();
    private readonly Dictionary<(string Store, ulong Offset), long> _shared = [];
    private readonly byte[] _page = new byte[PageSize.Bytes];
    private long _pages;
    private long _private;
    private long _zero;
    private long _sharedPages;

    internal SnapshotFile(string path)
    {
        _file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 1 << 20);
        _index = new BinaryWriter(_indexBytes);
    }

    internal void Begin(int pid)
    {
        _index.Write(0ul); // ends the pages of the process before; no page lies at address 0
        _index.Write((long)pid);
    }

    /// <summary>Adds a page; one that another process shares from the same place of the same store is not read.</summary>
    internal void Add(ulong address, (string Store, ulong Offset)? shared, TargetMemory memory)
    {
        _index.Write(address);
        if (shared is { } place)
        {
            _sharedPages++;
            if (!_shared.TryGetValue(place, out long known))
            {
                memory.Read(address, _page);
                known = Append();
                _shared.Add(place, known);
            }

            _index.Write(known);
            return;
        }

        memory.Read(address, _page);
        if (_page.AsSpan().IndexOfAnyExcept((byte)0) < 0)
        {
            _zero++;
            _index.Write(Zeros);
        }
        else
        {
            _private++;
            _index.Write(Append());
        }
    }

    internal SnapshotCounts Finish()
    {
        _index.Write(0ul);
        _index.Write(0L);
        _index.Flush();
        _file.Write(_indexBytes.GetBuffer().AsSpan(0, (int)_indexBytes.Length));
        _file.Write(BitConverter.GetBytes(_pages * PageSize.Bytes));
        _file.Write(BitConverter.GetBytes(_indexBytes.Length));
        _file.Flush();
        return new SnapshotCounts(_private, _zero, _sharedPages, _shared.Count, _file.Length);
    }

    /// <summary>Compares every page with what the process has now.</summary>
    /// <returns>Pages compared.</returns>
    /// <exception cref="InvalidDataException">A page differs, is missing, or is too much.</exception>
    internal static long Verify(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read);
        using var reader = new BinaryReader(file);
        file.Seek(-TrailerBytes, SeekOrigin.End);
        file.Seek(reader.ReadInt64(), SeekOrigin.Begin);
        var processes = new List<(int Pid, List<(ulong Address, long Page)> Pages)>();
        while (true)
        {
            ulong address = reader.ReadUInt64();
            long page = reader.ReadInt64();
            if (address != 0)
            {
                processes[^1].Pages.Add((address, page));
            }
            else if (page == 0)
            {
                break;
            }
            else
            {
                processes.Add(((int)page, []));
            }
        }

        return processes.Sum(process => Compare(file, process.Pid, process.Pages));
    }

    private static long Compare(FileStream file, int pid, List<(ulong Address, long Page)> pages)
    {
        using var memory = new TargetMemory(pid);
        if (!memory.PresentPages().SequenceEqual(pages.Select(page => page.Address)))
        {
            throw new InvalidDataException($"process {pid} has other pages than the file");
        }

        byte[] there = new byte[PageSize.Bytes], here = new byte[PageSize.Bytes];
        foreach ((ulong address, long page) in pages)
        {
            Array.Clear(here);
            if (page != Zeros)
            {
                file.Seek(page * PageSize.Bytes, SeekOrigin.Begin);
                file.ReadExactly(here);
            }

            memory.Read(address, there);
            if (!there.AsSpan().SequenceEqual(here))
            {
                throw new InvalidDataException($"the page at 0x{address:x} of process {pid} differs");
            }
        }

        return pages.Count;
    }

    private long Append()
    {
        _file.Write(_page);
        return _pages++;
    }

    public void Dispose()
    {
        _index.Dispose();
        _file.Dispose();
    }
}
