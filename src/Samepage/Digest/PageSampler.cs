using System.Buffers.Binary;

namespace Samepage;

/// <summary>
/// A hash of two lines of 64 bytes out of a page: what tells most pages apart without reading them. Equal pages have
/// equal samples; pages with equal samples need not be equal. Which lines, and the key of the hash, come from a
/// secret seed, so that a process can neither hide its pages from merging nor make others be read for nothing. Thread-safe.
/// </summary>
/// <remarks>
/// The hash is a sum of 64-bit products, each of two words under two key words (NH of UMAC, Black, Halevi,
/// Krawczyk, Krovetz, Rogaway, 1999, with 64 instead of 32 bits), upper and lower halves summed separately
/// and multiplied once more. It can be worked out with a few general registers: the live machine does so inside
/// the target (<c>MergeProgram.Sample.cs</c>), and this class says what has to come out.
/// </remarks>
public sealed class PageSampler
{
    /// <summary>Bytes of a line.</summary>
    public const int LineBytes = 64;

    /// <summary>Lines of a page that are looked at.</summary>
    public const int Lines = 2;

    /// <summary>Words of <see cref="Key"/>: one for each word of the lines, and two for the end.</summary>
    public const int KeyWords = (Lines * WordsPerLine) + 2;

    private const int WordsPerLine = LineBytes / sizeof(ulong);
    private const int LinesPerPage = PageSize.Bytes / LineBytes;

    private readonly ulong[] _key = new ulong[KeyWords];
    private readonly int[] _offsets = new int[Lines];

    private PageSampler(ulong seed)
    {
        ulong state = seed ^ 0x5EED_0F5A_4D91_E5A1;
        for (int i = 0; i < _key.Length; i++)
        {
            _key[i] = Next(ref state);
        }

        int first = (int)(Next(ref state) % LinesPerPage);
        int other = (first + 1 + (int)(Next(ref state) % (LinesPerPage - 1))) % LinesPerPage;
        _offsets[0] = Math.Min(first, other) * LineBytes;
        _offsets[1] = Math.Max(first, other) * LineBytes;
    }

    /// <summary>Secret words the hash is keyed with.</summary>
    public ReadOnlySpan<ulong> Key => _key;

    /// <summary>Byte offsets of the lines in a page, ascending, multiples of <see cref="LineBytes"/>.</summary>
    public ReadOnlySpan<int> Offsets => _offsets;

    /// <summary>A sampler for a seed; samples of different seeds have nothing to do with each other.</summary>
    public static PageSampler Create(ulong seed) => new(seed);

    /// <summary>The sample of one page. The value 0 is reserved for "not sampled" and comes out once in 2^64 pages, which
    /// then are read.</summary>
    /// <exception cref="ArgumentException"><paramref name="page"/> is not 4096 bytes long.</exception>
    public ulong Sample(ReadOnlySpan<byte> page)
    {
        if (page.Length != PageSize.Bytes)
        {
            throw new ArgumentException($"a page has {PageSize.Bytes} bytes, not {page.Length}", nameof(page));
        }

        ReadOnlySpan<ulong> key = _key;
        ulong low = 0;
        ulong high = 0;
        int word = 0;
        foreach (int offset in _offsets)
        {
            ReadOnlySpan<byte> line = page.Slice(offset, LineBytes);
            for (int at = 0; at < LineBytes; at += 2 * sizeof(ulong), word += 2)
            {
                ulong left = BinaryPrimitives.ReadUInt64LittleEndian(line[at..]) ^ key[word];
                ulong right = BinaryPrimitives.ReadUInt64LittleEndian(line[(at + sizeof(ulong))..]) ^ key[word + 1];
                high += Math.BigMul(left, right, out ulong product);
                low += product;
            }
        }

        ulong end = Math.BigMul(low ^ key[word], high ^ key[word + 1], out ulong last);
        return end ^ last;
    }

    // SplitMix64 (Sebastiano Vigna, public domain).
    private static ulong Next(ref ulong state)
    {
        ulong z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
