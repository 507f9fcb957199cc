using System.Runtime.CompilerServices;

namespace Samepage.Simulation;

/// <summary>
/// A table over page numbers of 36 bits in four levels of 512, as x86-64 builds its page tables: only leaves that were
/// touched exist. Used for page tables and for what programs have written.
/// </summary>
public sealed class RadixTable<T>
    where T : struct
{
    /// <summary>Pages of one leaf.</summary>
    public const int LeafPages = 512;

    private const int Bits = 9;
    private const ulong Mask = LeafPages - 1;

    private readonly object?[] _root = new object?[LeafPages];
    private T[]? _last;
    private ulong _lastBase = ulong.MaxValue;

    /// <summary>Leaves that exist.</summary>
    public int Leaves { get; private set; }

    /// <summary>The entry of a page; the default where nothing was touched.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T Get(ulong page)
    {
        T[]? leaf = page >> Bits == _lastBase ? _last : Find(page);
        return leaf is null ? default : leaf[page & Mask];
    }

    /// <summary>The entry of a page, which is made when it does not exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref T Touch(ulong page)
    {
        T[]? leaf = page >> Bits == _lastBase ? _last : Find(page);
        return ref (leaf ?? Make(page))[page & Mask];
    }

    /// <summary>The leaf of <paramref name="page"/>, or the first behind it.</summary>
    /// <param name="page">Moved to the leaf's first page when the leaf lies behind it.</param>
    /// <param name="end">Page to stop before.</param>
    /// <returns>Null when there is none before <paramref name="end"/>.</returns>
    public T[]? NextLeaf(ref ulong page, ulong end)
    {
        while (page < end)
        {
            if (_root[Index(page, 3)] is not object?[] third)
            {
                page = Next(page, 3);
            }
            else if (third[Index(page, 2)] is not object?[] second)
            {
                page = Next(page, 2);
            }
            else if (second[Index(page, 1)] is not T[] leaf)
            {
                page = Next(page, 1);
            }
            else
            {
                return leaf;
            }
        }

        return null;
    }

    /// <summary>Calls for each existing leaf with its first page.</summary>
    public void ForEachLeaf(Action<ulong, T[]> action)
    {
        ArgumentNullException.ThrowIfNull(action);
        const ulong end = 1UL << (4 * Bits);
        ulong page = 0;
        while (NextLeaf(ref page, end) is { } leaf)
        {
            action(page, leaf);
            page += LeafPages;
        }
    }

    /// <summary>Sets the entries of a span to the default, without making any.</summary>
    public void Clear(PageRange range)
    {
        ulong page = range.Start;
        while (NextLeaf(ref page, range.End) is { } leaf)
        {
            ulong end = Math.Min(range.End, (page | Mask) + 1);
            leaf.AsSpan((int)(page & Mask), (int)(end - page)).Clear();
            page = end;
        }
    }

    /// <summary>Makes all entries equal to another table's.</summary>
    public void CopyFrom(RadixTable<T> other)
    {
        ArgumentNullException.ThrowIfNull(other);
        other.ForEachLeaf((page, leaf) =>
        {
            Touch(page);
            leaf.CopyTo(_last!.AsSpan());
        });
    }

    private static int Index(ulong page, int level) => (int)((page >> (level * Bits)) & Mask);

    private static ulong Next(ulong page, int level) => ((page >> (level * Bits)) + 1) << (level * Bits);

    private T[]? Find(ulong page)
    {
        // Beyond the last page nothing exists, and the indices would wrap around.
        if (page >> (4 * Bits) != 0 || _root[Index(page, 3)] is not object?[] third || third[Index(page, 2)] is not object?[] second
            || second[Index(page, 1)] is not T[] leaf)
        {
            return null;
        }

        (_lastBase, _last) = (page >> Bits, leaf);
        return leaf;
    }

    private T[] Make(ulong page)
    {
        if (page >> (4 * Bits) != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(page), page, "page numbers have 36 bits");
        }

        var third = (object?[])(_root[Index(page, 3)] ??= new object?[LeafPages]);
        var second = (object?[])(third[Index(page, 2)] ??= new object?[LeafPages]);
        var leaf = new T[LeafPages];
        second[Index(page, 1)] = leaf;
        Leaves++;
        (_lastBase, _last) = (page >> Bits, leaf);
        return leaf;
    }
}
