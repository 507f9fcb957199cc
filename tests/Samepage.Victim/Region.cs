namespace Samepage.Victims;

/// <summary>
/// Private anonymous memory at a fixed place far from where the kernel puts mappings by itself, so that nobody else
/// in the process ever takes an address that has been unmapped for a moment.
/// </summary>
internal sealed class Region
{
    internal const int PageBytes = 4096, PageWords = PageBytes / 8;

    private static nint nextStart = unchecked((nint)0x2000_0000_0000);

    internal Region(int pages)
    {
        Pages = pages;
        // A gap on each side: the region stays a mapping of its own.
        Start = nextStart;
        nextStart += ((nint)pages + 512) * PageBytes;
        Map(0, pages);
    }

    internal int Pages { get; }

    internal nint Start { get; }

    internal nint End => Start + ((nint)Pages * PageBytes);

    internal nint AddressOf(int page) => Start + ((nint)page * PageBytes);

    /// <summary>The words of one page.</summary>
    internal Span<ulong> Words(int page)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)page, (uint)Pages);
        // SAFETY: the page lies in the region (checked above), which stays mapped but for the moments in which the
        // only thread that uses the page has unmapped it itself (Churn).
        unsafe
        {
            return new Span<ulong>((void*)AddressOf(page), PageWords);
        }
    }

    /// <summary>Maps pages where nothing is mapped; false when something is.</summary>
    internal bool TryMap(int page, int count) => Native.mmap(
        AddressOf(page),
        (nint)count * PageBytes,
        Native.PROT_READ | Native.PROT_WRITE,
        Native.MAP_PRIVATE | Native.MAP_ANONYMOUS | Native.MAP_FIXED_NOREPLACE,
        -1,
        0) != Native.MAP_FAILED;

    internal void Unmap(int page, int count) =>
        Check(Native.munmap(AddressOf(page), (nint)count * PageBytes), "munmap");

    internal void Protect(int page, int count, bool isWritable) => Check(
        Native.mprotect(
            AddressOf(page),
            (nint)count * PageBytes,
            Native.PROT_READ | (isWritable ? Native.PROT_WRITE : Native.PROT_NONE)),
        "mprotect");

    internal void DontNeed(int page, int count) =>
        Check(Native.madvise(AddressOf(page), (nint)count * PageBytes, Native.MADV_DONTNEED), "madvise");

    private static void Check(int result, string call)
    {
        if (result != 0)
        {
            throw Native.Failed(call);
        }
    }

    private void Map(int page, int count)
    {
        if (!TryMap(page, count))
        {
            throw Native.Failed("mmap");
        }
    }
}
