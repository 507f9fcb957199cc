using System.Runtime.InteropServices;
using Samepage.Linux.Memory;
using Samepage.Linux.Proc;
using Samepage.Linux.Store;

namespace Samepage.Linux.Tests.Memory;

/// <summary>PAGEMAP_SCAN against the memory of a real process.</summary>
public class PagemapScannerTests : IDisposable
{
    private readonly Puppet _puppet;
    private readonly ProcReader _proc;
    private readonly PagemapScanner _scanner;

    public PagemapScannerTests()
    {
        Puppet.SkipUnlessRoot();
        _puppet = Puppet.Start();
        _proc = ProcReader.TryOpen(_puppet.Pid)!;
        _scanner = PagemapScanner.Open(_proc);
    }

    public void Dispose()
    {
        _scanner?.Dispose();
        _proc?.Dispose();
        _puppet?.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void OnlyPagesWrittenSinceTheLastScanAreListed()
    {
        ulong address = _puppet.Map(64);
        _puppet.Fill(address, 10);
        _puppet.Expect($"track {address:x} 64");
        Assert.Equal([At(address, 0, 10)], Changed(address, 64));
        Assert.Empty(Changed(address, 64));
        _puppet.Fill(Byte(address, 3), 2);
        _puppet.Fill(Byte(address, 40), 1);
        Assert.Equal([At(address, 3, 2), At(address, 40, 1)], Changed(address, 64));
        Assert.Empty(Changed(address, 64));
    }

    [Fact]
    public void PagesThatWereOnlyReadAreTheZeroPageAndNotListed()
    {
        ulong address = _puppet.Map(8);
        _puppet.Expect($"track {address:x} 8");
        Assert.Equal(0ul, _puppet.Do($"read {address:x}"));
        Assert.Empty(Changed(address, 8));
        Assert.Empty(Present(address, 8));
    }

    [Fact]
    public void MoreRunsThanFitAreContinuedAtTheCursor()
    {
        const int runs = 1500;
        ulong address = _puppet.Map(runs * 2);
        _puppet.Expect($"advise {address:x} {runs * 2} 15"); // MADV_NOHUGEPAGE
        for (int i = 0; i < runs; i++)
        {
            _puppet.Fill(Byte(address, i * 2), 1);
        }

        _puppet.Expect($"track {address:x} {runs * 2}");
        PageRange all = Puppet.Pages(address, runs * 2);
        ulong cursor = all.Start;
        List<PageRange> found = [];
        PageRange[] some = new PageRange[700];
        while (cursor < all.End)
        {
            Assert.Equal(ScanStatus.Done, _scanner.Changed(ref cursor, all.End, some, out int count));
            found.AddRange(some.AsSpan(0, count));
        }

        Assert.Equal(Enumerable.Range(0, runs).Select(i => At(address, i * 2, 1)), found);
        Assert.Empty(Changed(address, runs * 2));
    }

    [Fact]
    public void APageLimitStopsTheScanAndLeavesTheRestForTheNext()
    {
        ulong address = _puppet.Map(64);
        _puppet.Fill(address, 64);
        _puppet.Expect($"track {address:x} 64");
        PageRange all = Puppet.Pages(address, 64);
        ulong cursor = all.Start;
        PageRange[] runs = new PageRange[16];
        Assert.Equal(ScanStatus.Done, _scanner.Changed(ref cursor, all.End, runs, out int count, pagesMax: 10));
        Assert.Equal([At(address, 0, 10)], runs[..count]);
        Assert.Equal(all.Start + 10, cursor);
        Assert.Equal([At(address, 10, 54)], Changed(address, 64));
    }

    /// <summary>The kernel gives up at the untracked mapping with an error and no count, although it has
    /// write-protected the pages before it. They must be reported, or they would be lost.</summary>
    [Fact]
    public void AnUntrackedMappingIsReportedAndThePagesBeforeItAreNotLost()
    {
        ulong address = _puppet.Map(32);
        _puppet.Fill(address, 32);
        _puppet.Expect($"track {address:x} 8");
        PageRange all = Puppet.Pages(address, 32);
        ulong cursor = all.Start;
        PageRange[] runs = new PageRange[16];
        Assert.Equal(ScanStatus.NotTracked, _scanner.Changed(ref cursor, all.End, runs, out int count));
        Assert.Equal([At(address, 0, 8)], runs[..count]);
        Assert.Equal(all.Start + 8, cursor);
        _puppet.Expect($"track {Byte(address, 8):x} 24");
        Assert.Equal([At(address, 8, 24)], Changed(address, 32));
    }

    [Fact]
    public void StorePagesAreSharedUntilTheyAreWritten()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(3, new byte[4 * PageSize.Bytes]);
        ulong address = _puppet.Do($"store 0 3 4 {StoreTests.PathOf(store)}");
        Assert.Equal([At(address, 0, 4)], Shared(address, 4));
        Assert.Empty(Present(address, 4));
        _puppet.Fill(Byte(address, 1), 1);
        Assert.Equal([At(address, 0, 1), At(address, 2, 2)], Shared(address, 4));
        Assert.Equal([At(address, 1, 1)], Present(address, 4));
        PagemapEntry[] entries = new PagemapEntry[4];
        Assert.Equal(4, _scanner.ReadEntries(address >> PageSize.Shift, entries));
        Assert.Equal([true, false, true, true], entries.Select(e => e.IsFile));
        Assert.All(entries, e => Assert.True(e.IsPresent && e.PageFrame != 0));
    }

    [Fact]
    public void NothingIsListedOfAProcessThatIsGone()
    {
        ulong address = _puppet.Map(8);
        _puppet.Fill(address, 8);
        Assert.Single(Present(address, 8));
        _puppet.Kill();
        PageRange all = Puppet.Pages(address, 8);
        ulong cursor = all.Start;
        _ = _scanner.Present(ref cursor, all.End, new PageRange[4], out int count);
        Assert.Equal(0, count);
        Assert.Equal(0, _scanner.ReadEntries(all.Start, new PagemapEntry[1]));
    }

    [Fact]
    public void RemoteReadingStopsAtTheFirstUnreadablePage()
    {
        ulong address = _puppet.Map(32);
        _puppet.Fill(address, 32, seed: 100);
        byte[] bytes = new byte[16 * PageSize.Bytes];
        PageRange[] ranges = [At(address, 8, 2), At(address, 0, 3), At(address, 20, 8)];
        Assert.Equal(13, RemoteReader.Read(_puppet.Pid, ranges, bytes));
        Assert.Equal([108 | 1, 109 | 1, 100 | 1, 101 | 1, 102 | 1, 120 | 1], FirstBytes(bytes, 6));
        // A destination that is too small cuts the last range.
        Assert.Equal(4, RemoteReader.Read(_puppet.Pid, ranges, bytes.AsSpan(0, 4 * PageSize.Bytes + 100)));
        _puppet.Expect($"unmap {Byte(address, 22):x} 1");
        Assert.Equal(7, RemoteReader.Read(_puppet.Pid, ranges, bytes));
        _puppet.Expect($"unmap {Byte(address, 8):x} 1");
        Assert.Equal(0, RemoteReader.Read(_puppet.Pid, ranges, bytes));
        _puppet.Kill();
        Assert.Equal(0, RemoteReader.Read(_puppet.Pid, ranges, bytes));
    }

    [Fact]
    public void ThousandsOfRangesAreReadInOrder()
    {
        const int pages = 3000;
        ulong address = _puppet.Map(pages);
        _puppet.Fill(address, pages);
        PageRange[] ranges = [.. Enumerable.Range(0, pages).Select(i => At(address, pages - 1 - i, 1))];
        byte[] bytes = new byte[pages * PageSize.Bytes];
        Assert.Equal(pages, RemoteReader.Read(_puppet.Pid, ranges, bytes));
        Assert.Equal(
            Enumerable.Range(0, pages).Select(i => (byte)((pages - i) | 1)), FirstBytes(bytes, pages));
    }

    [Fact]
    public void ScanningAndReadingAllocateNothing()
    {
        ulong address = _puppet.Map(64);
        _puppet.Fill(address, 64);
        _puppet.Expect($"track {address:x} 64");
        PageRange all = Puppet.Pages(address, 64);
        PageRange[] runs = new PageRange[16];
        byte[] bytes = new byte[64 * PageSize.Bytes];
        void Pass()
        {
            ulong cursor = all.Start;
            _ = _scanner.Changed(ref cursor, all.End, runs, out _);
            cursor = all.Start;
            _ = _scanner.Present(ref cursor, all.End, runs, out int count);
            _ = RemoteReader.Read(_puppet.Pid, runs.AsSpan(0, count), bytes);
        }

        Pass();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Pass();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private static ulong Byte(ulong address, int page) => address + ((ulong)page * PageSize.Bytes);

    private static PageRange At(ulong address, int page, int count) => Puppet.Pages(Byte(address, page), count);

    private static IEnumerable<byte> FirstBytes(byte[] bytes, int pages) =>
        Enumerable.Range(0, pages).Select(i => bytes[i * PageSize.Bytes]);

    private PageRange[] Changed(ulong address, int pages) => All(_scanner.Changed, address, pages);

    private PageRange[] Present(ulong address, int pages) =>
        All(
            (ref ulong c, ulong e, Span<PageRange> r, out int n, ulong _) => _scanner.Present(ref c, e, r, out n),
            address, pages);

    private PageRange[] Shared(ulong address, int pages) =>
        All(
            (ref ulong c, ulong e, Span<PageRange> r, out int n, ulong _) => _scanner.Shared(ref c, e, r, out n),
            address, pages);

    private static PageRange[] All(Scan scan, ulong address, int pages)
    {
        PageRange all = Puppet.Pages(address, pages);
        ulong cursor = all.Start;
        PageRange[] runs = new PageRange[pages];
        Assert.Equal(ScanStatus.Done, scan(ref cursor, all.End, runs, out int count, 0));
        Assert.Equal(all.End, cursor);
        return runs[..count];
    }

    private delegate ScanStatus Scan(ref ulong cursor, ulong end, Span<PageRange> runs, out int count, ulong pagesMax);
}
