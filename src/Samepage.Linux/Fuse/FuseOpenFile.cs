namespace Samepage.Linux.Fuse;

/// <summary>
/// One opened file. Reads one behind the other show one state of the file, as sysfs's do (seq_file): the text is made
/// at position 0 and whenever a read does not go on where the last one ended.
/// </summary>
internal sealed class FuseOpenFile(int file)
{
    private byte[] text = [];
    private ulong next;

    /// <summary>Index of the file.</summary>
    internal int File { get; } = file;

    /// <summary>Reads from a position.</summary>
    /// <returns>Bytes read; 0 at the end.</returns>
    internal int Read(IFuseDirectory directory, ulong offset, Span<byte> destination)
    {
        if (offset == 0 || offset != next)
        {
            text = directory.Read(File);
        }

        var rest = offset < (ulong)text.Length ? text.AsSpan((int)offset) : [];
        rest = rest[..Math.Min(rest.Length, destination.Length)];
        rest.CopyTo(destination);
        next = offset + (uint)rest.Length;
        return rest.Length;
    }
}
