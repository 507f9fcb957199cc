using System.Runtime.CompilerServices;

namespace Samepage.Linux.Proc;

/// <summary>Protection of a mapping, with the values of PROT_*.</summary>
[Flags]
internal enum VmaProtection : byte
{
    None = 0,
    Read = 1,
    Write = 2,
    Execute = 4,
}

/// <summary>A file as maps and stat both name it.</summary>
/// <param name="Major">Major device number of the file system.</param>
/// <param name="Minor">Minor device number.</param>
/// <param name="Inode">Inode number; 0 in maps when there is no file.</param>
internal readonly record struct FileIdentity(uint Major, uint Minor, ulong Inode);

/// <summary>One line of /proc/PID/maps (proc_pid_maps(5)).</summary>
internal ref struct MapsLine
{
    /// <summary>First byte address.</summary>
    internal ulong Start;

    /// <summary>Byte address after the last.</summary>
    internal ulong End;

    /// <summary>Protection.</summary>
    internal VmaProtection Protection;

    /// <summary>True for MAP_SHARED.</summary>
    internal bool IsShared;

    /// <summary>Byte offset in the file.</summary>
    internal ulong Offset;

    /// <summary>The file; inode 0 without one.</summary>
    internal FileIdentity File;

    /// <summary>Path or bracketed name as printed (line feeds as \012), empty without one.</summary>
    internal ReadOnlySpan<byte> Name;

    /// <summary>The pages; empty if the addresses are not page-aligned.</summary>
    internal readonly PageRange Pages => new(Start >> PageSize.Shift, End >> PageSize.Shift);

    /// <summary>Parses one line without its line end.</summary>
    /// <returns>False when the line is not one that the kernel prints.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static bool TryParse(ReadOnlySpan<byte> line, out MapsLine result)
    {
        result = default;
        ReadOnlySpan<byte> rest = line;
        if (!ProcText.TryHex(ref rest, (byte)'-', out result.Start) ||
            !ProcText.TryHex(ref rest, (byte)' ', out result.End) ||
            result.End < result.Start ||
            ((result.Start | result.End) & (PageSize.Bytes - 1)) != 0 ||
            !TryPermissions(ref rest, out result.Protection, out result.IsShared) ||
            !ProcText.TryHex(ref rest, (byte)' ', out result.Offset) ||
            !ProcText.TryHex(ref rest, (byte)':', out ulong major) ||
            !ProcText.TryHex(ref rest, (byte)' ', out ulong minor) ||
            major > uint.MaxValue || minor > uint.MaxValue ||
            !ProcText.TryDecimal(ProcText.NextField(ref rest, (byte)' '), out ulong inode))
        {
            return false;
        }

        result.File = new FileIdentity((uint)major, (uint)minor, inode);
        result.Name = ProcText.SkipBlanks(rest);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryPermissions(
        scoped ref ReadOnlySpan<byte> rest, out VmaProtection protection, out bool shared)
    {
        protection = VmaProtection.None;
        shared = false;
        if (rest.Length < 5 || rest[4] != ' ' ||
            rest[0] is not ((byte)'r' or (byte)'-') || rest[1] is not ((byte)'w' or (byte)'-') ||
            rest[2] is not ((byte)'x' or (byte)'-') || rest[3] is not ((byte)'p' or (byte)'s'))
        {
            return false;
        }

        protection =
            (rest[0] == 'r' ? VmaProtection.Read : 0) |
            (rest[1] == 'w' ? VmaProtection.Write : 0) |
            (rest[2] == 'x' ? VmaProtection.Execute : 0);
        shared = rest[3] == 's';
        rest = rest[5..];
        return true;
    }
}

/// <summary>Goes through the text of /proc/PID/maps; lines that do not parse are passed over and counted.</summary>
internal ref struct MapsParser(ReadOnlySpan<byte> text)
{
    private ReadOnlySpan<byte> _rest = text;

    /// <summary>Lines passed over so far.</summary>
    internal int Malformed { get; private set; }

    /// <summary>The next well-formed line.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal bool TryNext(out MapsLine line)
    {
        while (ProcText.TryNextLine(ref _rest, out ReadOnlySpan<byte> text))
        {
            if (MapsLine.TryParse(text, out line))
            {
                return true;
            }

            Malformed++;
        }

        line = default;
        return false;
    }
}
