namespace Samepage;

/// <summary>
/// A half-open span of consecutive virtual pages of one address space, in page numbers (address divided by
/// <see cref="PageSize.Bytes"/>), never in bytes.
/// </summary>
/// <param name="Start">First page number.</param>
/// <param name="End">Page number after the last; never below <paramref name="Start"/>.</param>
public readonly record struct PageRange(ulong Start, ulong End)
{
    /// <summary>Number of pages.</summary>
    public ulong Count => End - Start;

    /// <summary>True when there is no page in it.</summary>
    public bool IsEmpty => End <= Start;

    /// <summary>First byte address.</summary>
    public ulong StartAddress => Start << PageSize.Shift;

    /// <summary>Byte address after the last.</summary>
    public ulong EndAddress => End << PageSize.Shift;

    /// <summary>True when <paramref name="page"/> lies in the span.</summary>
    public bool Contains(ulong page) => page >= Start && page < End;

    /// <summary>The pages both spans have; empty (and then with no other meaning) when they do not meet.</summary>
    public PageRange Intersect(PageRange other) =>
        new(Math.Max(Start, other.Start), Math.Max(Math.Max(Start, other.Start), Math.Min(End, other.End)));

    /// <summary>A span from byte addresses, which must be page aligned.</summary>
    /// <exception cref="ArgumentException">An address is not a multiple of the page size, or end is below
    /// start.</exception>
    public static PageRange FromAddresses(ulong start, ulong end)
    {
        if (((start | end) & (PageSize.Bytes - 1)) != 0 || end < start)
        {
            throw new ArgumentException(
                $"0x{start:x}-0x{end:x} is not a page-aligned range with its end after its start");
        }

        return new PageRange(start >> PageSize.Shift, end >> PageSize.Shift);
    }

    /// <inheritdoc/>
    public override string ToString() => $"{StartAddress:x}-{EndAddress:x}";
}

/// <summary>The one page size Samepage merges: 4096 bytes, x86-64's base page.</summary>
public static class PageSize
{
    /// <summary>Bytes in a page.</summary>
    public const int Bytes = 4096;

    /// <summary>log2 of <see cref="Bytes"/>.</summary>
    public const int Shift = 12;
}
