using System.Buffers.Text;
using System.Runtime.CompilerServices;

namespace Samepage.Linux.Proc;

/// <summary>
/// Small pieces of parsing that all /proc parsers share. Nothing here throws or allocates. Inlined by force, and
/// their users compiled with all optimization at once: a list of 65,000 mappings is read long before the runtime
/// would come to recompile them, and first-tier code takes fifteen times as long.
/// </summary>
internal static class ProcText
{
    /// <summary>Cuts the text up to the next line end off <paramref name="rest"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool TryNextLine(scoped ref ReadOnlySpan<byte> rest, out ReadOnlySpan<byte> line)
    {
        if (rest.IsEmpty)
        {
            line = default;
            return false;
        }

        int end = rest.IndexOf((byte)'\n');
        if (end < 0)
        {
            line = rest;
            rest = default;
            return true;
        }

        line = rest[..end];
        rest = rest[(end + 1)..];
        return true;
    }

    /// <summary>Cuts the word up to <paramref name="separator"/> off <paramref name="rest"/>; the separator goes
    /// too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ReadOnlySpan<byte> NextField(scoped ref ReadOnlySpan<byte> rest, byte separator)
    {
        int end = rest.IndexOf(separator);
        if (end < 0)
        {
            ReadOnlySpan<byte> all = rest;
            rest = default;
            return all;
        }

        ReadOnlySpan<byte> field = rest[..end];
        rest = rest[(end + 1)..];
        return field;
    }

    /// <summary>Cuts a hexadecimal number and the separator after it off <paramref name="rest"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool TryHex(scoped ref ReadOnlySpan<byte> rest, byte separator, out ulong value)
    {
        value = 0;
        int i = 0;
        for (; i < rest.Length && rest[i] != separator; i++)
        {
            int digit = HexDigit(rest[i]);
            if (digit < 0 || i >= 16)
            {
                return false;
            }

            value = (value << 4) | (uint)digit;
        }

        if (i == 0 || i == rest.Length)
        {
            return false;
        }

        rest = rest[(i + 1)..];
        return true;
    }

    /// <summary>A whole field as an unsigned decimal number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool TryDecimal(ReadOnlySpan<byte> field, out ulong value)
    {
        value = 0;
        for (int i = 0; i < field.Length; i++)
        {
            uint digit = (uint)(field[i] - '0');
            if (digit > 9 || value > (ulong.MaxValue - digit) / 10)
            {
                return false;
            }

            value = (value * 10) + digit;
        }

        return !field.IsEmpty;
    }

    /// <summary>The text without the blanks before it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ReadOnlySpan<byte> SkipBlanks(ReadOnlySpan<byte> text)
    {
        int i = 0;
        while (i < text.Length && text[i] == ' ')
        {
            i++;
        }

        return text[i..];
    }

    /// <summary>The unsigned decimal number at the start of a value such as <c>   12 kB</c>.</summary>
    internal static bool TryLeadingDecimal(ReadOnlySpan<byte> text, out ulong value) =>
        Utf8Parser.TryParse(text.TrimStart(" \t"u8), out value, out int used) && used > 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int HexDigit(byte c)
    {
        int digit = c - '0';
        int letter = c - 'a';
        return (uint)digit <= 9 ? digit : (uint)letter <= 5 ? letter + 10 : -1;
    }
}
