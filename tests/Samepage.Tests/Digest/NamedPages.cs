using System.Globalization;

namespace Samepage.Tests;

/// <summary>Pages by name, the same as make-vectors.c makes.</summary>
internal static class NamedPages
{
    public static byte[] Named(string name)
    {
        var page = new byte[PageSize.Bytes];
        if (name == "ones")
        {
            page.AsSpan().Fill(0xff);
        }
        else if (name.StartsWith("ramp", StringComparison.Ordinal))
        {
            var step = int.Parse(name.AsSpan(4), CultureInfo.InvariantCulture);
            for (var i = 0; i < page.Length; i++)
            {
                page[i] = (byte)((i * step) + (i / 256));
            }
        }
        else if (name.StartsWith("bit", StringComparison.Ordinal))
        {
            FlipBit(page, int.Parse(name.AsSpan(3), CultureInfo.InvariantCulture));
        }
        else if (name != "zero")
        {
            throw new ArgumentException($"no page is named {name}");
        }

        return page;
    }

    public static byte[] Random(Random random)
    {
        var page = new byte[PageSize.Bytes];
        random.NextBytes(page);
        return page;
    }

    public static void FlipBit(byte[] page, int bit) => page[bit / 8] ^= (byte)(1 << (bit % 8));
}
