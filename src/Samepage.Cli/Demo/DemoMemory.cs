using System.Buffers.Binary;
using Samepage.Linux.Host;

namespace Samepage.Cli.Demo;

/// <summary>
/// Memory of one worker and what must be in it. Every page is known by its index: in runs of 64 pages, half of all
/// pages have bytes that all workers have, a quarter bytes of this worker alone, a quarter zeros. A write changes one
/// word of a page to a stamp, so that a check sees both the written word and what had to stay around it.
/// </summary>
internal sealed class DemoMemory : IDisposable
{
    private const int RunPages = 64;
    private const int WritesEveryPages = 16;

    private readonly AnonymousPages pages;
    private readonly ulong seed;
    private readonly ulong ownSeed;
    private ulong writes;

    internal DemoMemory(long pageCount, ulong seed, int worker)
    {
        pages = new AnonymousPages(pageCount);
        this.seed = seed;
        ownSeed = Mix(seed + (ulong)worker + 1);
        for (long page = 0; page < pageCount; page++)
        {
            Fill(page, pages[page]);
        }
    }

    /// <summary>Number of pages.</summary>
    internal long Count => pages.Count;

    /// <summary>A copy of every page.</summary>
    internal IEnumerable<byte[]> Pages
    {
        get
        {
            for (long page = 0; page < Count; page++)
            {
                yield return pages[page].ToArray();
            }
        }
    }

    /// <summary>Writes a new stamp into every 16th page: the same one as in all workers that wrote as often.</summary>
    /// <returns>Number of pages written.</returns>
    internal long Write()
    {
        writes++;
        long written = 0;
        for (long page = 0; page < Count; page += WritesEveryPages, written++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(pages[page][StampAt(page)..], Stamp(page));
        }

        return written;
    }

    /// <summary>Compares every byte with what must be there.</summary>
    /// <returns>The first page that differs, or -1.</returns>
    internal long FirstWrong()
    {
        var expected = new byte[PageSize.Bytes];
        for (long page = 0; page < Count; page++)
        {
            Fill(page, expected);
            if (writes > 0 && page % WritesEveryPages == 0)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(expected.AsSpan(StampAt(page)), Stamp(page));
            }

            if (!pages[page].SequenceEqual(expected))
            {
                return page;
            }
        }

        return -1;
    }

    /// <summary>Breaks one byte, to show that <see cref="FirstWrong"/> finds it.</summary>
    internal void Spoil(long page) => pages[page][PageSize.Bytes / 2] ^= 1;

    public void Dispose() => pages.Dispose();

    private void Fill(long page, Span<byte> bytes)
    {
        var kind = page / RunPages % 4;
        if (kind == 3)
        {
            bytes.Clear();
            return;
        }

        var state = Mix((kind == 2 ? ownSeed : seed) ^ (ulong)page);
        for (var at = 0; at < PageSize.Bytes; at += sizeof(ulong))
        {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[at..], state);
        }
    }

    private ulong Stamp(long page) => Mix(seed ^ (writes << 40) ^ (ulong)page);

    private static int StampAt(long page) => (int)(page / WritesEveryPages * sizeof(ulong) % PageSize.Bytes);

    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014); never 0, which xorshift could not leave.
    private static ulong Mix(ulong value)
    {
        value += 0x9E3779B97F4A7C15;
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return (value ^ (value >> 31)) | 1;
    }
}
