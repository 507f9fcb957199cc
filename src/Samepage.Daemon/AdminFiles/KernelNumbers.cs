using System.Globalization;
using System.Text;
using Samepage.Linux.Interop;

namespace Samepage.Daemon.AdminFiles;

/// <summary>
/// Reads what was written to a file the way the kernel's own parsers do (lib/kstrtox.c, strict_strtoul of 2009), to the
/// error number. Text ends at its first NUL, as the kernel's buffer does. Each returns 0 or an error number.
/// </summary>
internal static class KernelNumbers
{
    /// <summary>The text of a write: a byte is a character, up to the first NUL.</summary>
    internal static string Text(ReadOnlySpan<byte> written)
    {
        var end = written.IndexOf((byte)0);
        return Encoding.Latin1.GetString(end < 0 ? written : written[..end]);
    }

    /// <summary>kstrtoull, base 10: an optional plus sign, digits, an optional newline.</summary>
    internal static int ToUInt64(string text, out ulong number)
    {
        number = 0;
        var start = text.StartsWith('+') ? 1 : 0;
        var end = start;
        while (end < text.Length && char.IsAsciiDigit(text[end]))
        {
            end++;
        }

        if (end == start)
        {
            return Errno.EINVAL;
        }

        var digits = text.AsSpan(start, end - start);
        if (!ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out number))
        {
            return Errno.ERANGE; // before what follows is looked at, as there
        }

        end += end < text.Length && text[end] == '\n' ? 1 : 0;
        return end == text.Length ? 0 : Errno.EINVAL;
    }

    /// <summary>kstrtouint.</summary>
    internal static int ToUInt32(string text, out uint number)
    {
        var error = ToUInt64(text, out var wide);
        number = (uint)wide;
        return error != 0 ? error : wide > uint.MaxValue ? Errno.ERANGE : 0;
    }

    /// <summary>kstrtoint.</summary>
    internal static int ToInt32(string text, out int number)
    {
        var isNegative = text.StartsWith('-');
        var error = ToUInt64(isNegative ? text[1..] : text, out var wide);
        if (isNegative && text.Length > 1 && text[1] == '+')
        {
            error = error == 0 ? Errno.EINVAL : error;
        }

        var limit = isNegative ? 1UL << 31 : int.MaxValue;
        number = error == 0 && wide <= limit ? (int)(isNegative ? -(long)wide : (long)wide) : 0;
        return error != 0 ? error : wide > limit ? Errno.ERANGE : 0;
    }

    /// <summary>kstrtobool of Linux 6.18: only the beginning counts; enable and disable are words, too.</summary>
    internal static int ToBoolean(string text, out bool value)
    {
        var first = text.Length > 0 ? text[0] : '\0';
        var second = text.Length > 1 ? text[1] : '\0';
        value = first is 'e' or 'E' or 'y' or 'Y' or 't' or 'T' or '1'
            || (first is 'o' or 'O' && second is 'n' or 'N');
        var isFalse = first is 'd' or 'D' or 'n' or 'N' or 'f' or 'F' or '0'
            || (first is 'o' or 'O' && second is 'f' or 'F');
        return value || isFalse ? 0 : Errno.EINVAL;
    }

    /// <summary>strict_strtoul of 2009, base 10: digits and an optional newline. A number beyond 64 bits, of which it
    /// took the low bits, is refused here.</summary>
    internal static int ToUInt64As2009(string text, out ulong number)
    {
        number = 0;
        return text.StartsWith('+') || ToUInt64(text, out number) != 0 ? Errno.EINVAL : 0;
    }

    /// <summary>sysfs_streq: equal but for one newline at the end.</summary>
    internal static bool Is(string text, string word) => text == word || text == word + "\n";
}
