namespace Samepage.Victims;

/// <summary>
/// What pages hold, computed and never stored: one page in eight is all zero, one is like no other, six come from
/// a pool of sixteen that all victims with the same seed share. The same formula as in Victims/victim.h of the tests.
/// </summary>
internal sealed class Content(ulong seed)
{
    private readonly ulong own = Mix(((ulong)Environment.ProcessId << 32) | 1) | 1;

    internal ulong this[int page, int word] => (page % 8) switch
    {
        0 => 0,
        7 => Mix(own ^ ((ulong)page << 16) ^ (ulong)word),
        _ => Mix((seed << 40) ^ ((ulong)(page % 16) << 16) ^ (ulong)word),
    };

    internal static ulong Mix(ulong x)
    {
        x += 0x9e3779b97f4a7c15;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }

    internal void Fill(Region region, int page)
    {
        Span<ulong> words = region.Words(page);
        for (int word = 0; word < words.Length; word++)
        {
            words[word] = this[page, word];
        }
    }
}

/// <summary>A small generator per thread; results need not be good, only different.</summary>
internal struct Dice(ulong state)
{
    private ulong state = state;

    internal ulong Next() => Content.Mix(state += 0x9e3779b97f4a7c15);

    internal int Below(int limit) => (int)(Next() % (ulong)limit);
}
