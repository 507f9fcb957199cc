using System.Runtime.InteropServices;
using Xunit;

namespace Samepage.Tests;

/// <summary>
/// A page's bytes in 16 bytes: the first half repeats one word, the second half another. Two halves, so that a page can
/// be torn: read while it is being written.
/// </summary>
public readonly record struct PageContent(ulong First, ulong Second)
{
    public static readonly PageContent Zero;

    public static PageContent Of(ulong word) => new(word, word);

    public static PageContent Parse(ReadOnlySpan<byte> page)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(page);
        var content = new PageContent(words[0], words[256]);
        Assert.False(words[..256].ContainsAnyExcept(content.First), "not a page of this machine");
        Assert.False(words[256..].ContainsAnyExcept(content.Second), "not a page of this machine");
        return content;
    }

    public void CopyTo(Span<byte> page)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(page);
        words[..256].Fill(First);
        words[256..].Fill(Second);
    }
}
