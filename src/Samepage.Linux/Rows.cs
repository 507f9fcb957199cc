namespace Samepage.Linux;

/// <summary>
/// A growing array of values. For what the first merge needs at once: a framework's list of our own structs cannot be compiled
/// ahead with our code (it is another assembly's), so it costs milliseconds when it is first used; this can.
/// </summary>
internal sealed class Rows<T>
    where T : struct
{
    private T[] _items = [];

    /// <summary>Number of values.</summary>
    public int Count { get; private set; }

    /// <summary>The values; valid until the next is added.</summary>
    public Span<T> All => _items.AsSpan(0, Count);

    public ref T this[int index] => ref _items[index];

    public void Add(in T item)
    {
        Grow(Count + 1);
        _items[Count++] = item;
    }

    /// <summary>Makes it that long; what is new is undefined.</summary>
    public void SetCount(int count)
    {
        Grow(count);
        Count = count;
    }

    /// <summary>Moves <paramref name="count"/> values.</summary>
    public void Move(int from, int to, int count) => Array.Copy(_items, from, _items, to, count);

    public void Clear() => Count = 0;

    private void Grow(int count)
    {
        if (count > _items.Length)
        {
            var larger = new T[Math.Max(count, Math.Max(16, _items.Length + (_items.Length / 2)))];
            Array.Copy(_items, larger, Count);
            _items = larger;
        }
    }
}
