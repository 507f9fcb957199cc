using System.Runtime.InteropServices;

namespace Samepage.Simulation;

/// <summary>
/// A page's bytes in 16 bytes: the first half repeats one word, the second half another. Two halves, so that a page can
/// be torn (read while it is being written) and written in part (so that a copy which forgets the rest is noticed).
/// The bytes themselves exist only while somebody looks at them.
/// </summary>
public readonly record struct PageContent(ulong First, ulong Second)
{
    public static readonly PageContent Zero;

    private const int HalfWords = PageSize.Bytes / 2 / sizeof(ulong);

    public static PageContent Of(ulong word) => new(word, word);

    /// <summary>The content with these bytes.</summary>
    /// <exception cref="InvalidOperationException">They are no page of this kind.</exception>
    public static PageContent Parse(ReadOnlySpan<byte> page)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(page);
        var content = new PageContent(words[0], words[HalfWords]);
        if (words[..HalfWords].ContainsAnyExcept(content.First) || words[HalfWords..].ContainsAnyExcept(content.Second))
        {
            throw new InvalidOperationException("not a page of a simulated machine");
        }

        return content;
    }

    public void CopyTo(Span<byte> page)
    {
        CopyHalf(0, page);
        CopyHalf(1, page);
    }

    /// <summary>Writes one half into its place in a page of bytes.</summary>
    public void CopyHalf(int half, Span<byte> page) =>
        MemoryMarshal.Cast<byte, ulong>(page).Slice(half * HalfWords, HalfWords).Fill(half == 0 ? First : Second);

    /// <summary>With one half replaced.</summary>
    public PageContent With(int half, ulong word) =>
        half == 0 ? this with { First = word } : this with { Second = word };

    public override string ToString() => First == Second ? $"{First:x}" : $"{First:x}/{Second:x}";
}
