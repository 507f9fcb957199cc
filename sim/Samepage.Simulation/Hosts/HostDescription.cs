namespace Samepage.Simulation.Hosts;

/// <summary>A synthetic host, as a host file describes it (docs/host-files.md).</summary>
/// <param name="MemoryBytes">Memory of the host; 0 when it does not matter (it does to ksmtuned).</param>
/// <param name="Duration">Simulated time.</param>
/// <param name="Guests">Groups of equal guests.</param>
public sealed record HostDescription(long MemoryBytes, TimeSpan Duration, IReadOnlyList<GuestGroup> Guests)
{
    /// <summary>Memory of all guests together, in pages.</summary>
    public long Pages => Guests.Sum(group => (long)group.Count * group.Pages);
}

/// <summary>Guests of one kind.</summary>
/// <param name="Name">Name.</param>
/// <param name="Count">How many run at a time.</param>
/// <param name="Pages">Pages of each.</param>
/// <param name="Start">When the first starts.</param>
/// <param name="Over">They start evenly spread over this time.</param>
/// <param name="Life">Mean life; one that ends is replaced by a new one. Null: for ever.</param>
/// <param name="Classes">What its memory consists of; together at most all of it.</param>
public sealed record GuestGroup(
    string Name, int Count, long Pages, TimeSpan Start, TimeSpan Over, TimeSpan? Life, IReadOnlyList<PageClass> Classes);

/// <summary>What pages of a class hold.</summary>
public enum PageContentKind
{
    /// <summary>Content nobody else has.</summary>
    Unique,

    /// <summary>Zeros.</summary>
    Zero,

    /// <summary>Page i equals page i of every guest with the same image (kernel, programs, files at a fixed place).
    /// </summary>
    Image,

    /// <summary>Any page of a common stock (page cache: the same files, at any place).</summary>
    Pool,
}

/// <summary>Pages of one kind in each guest of a group.</summary>
/// <param name="Name">Name.</param>
/// <param name="Pages">Pages per guest.</param>
/// <param name="Kind">What they hold.</param>
/// <param name="Common">Name of the image or pool; null for the others.</param>
/// <param name="PoolPages">Different pages of the pool; 0 for the others.</param>
/// <param name="Life">Mean time until a page gets new content; null: never. A page of an image or of zeros then becomes
/// unique for one such time and comes back after it; a page of a pool gets another page of the pool.</param>
public sealed record PageClass(
    string Name, long Pages, PageContentKind Kind, string? Common, long PoolPages, TimeSpan? Life);

/// <summary>A host file is wrong. The message begins with line and column.</summary>
public sealed class HostFileException(int line, int column, string problem)
    : Exception($"line {line}, column {column}: {problem}")
{
    /// <summary>Line, from 1.</summary>
    public int Line { get; } = line;

    /// <summary>Column, from 1.</summary>
    public int Column { get; } = column;
}
