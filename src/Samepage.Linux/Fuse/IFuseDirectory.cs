namespace Samepage.Linux.Fuse;

/// <summary>
/// What a mount shows: one directory of small text files that behave like those of sysfs. Members are called from
/// several threads.
/// </summary>
public interface IFuseDirectory
{
    /// <summary>The files, in the order they are listed; never changes.</summary>
    IReadOnlyList<FuseFile> Files { get; }

    /// <summary>The whole content of a file as it is now. Must not wait for anything long.</summary>
    /// <param name="file">Index into <see cref="Files"/>.</param>
    byte[] Read(int file);

    /// <summary>Takes what one write(2) wrote, at most <see cref="FuseDispatcher.WriteMax"/> bytes; the position in the
    /// file means nothing, as in sysfs.</summary>
    /// <param name="file">Index into <see cref="Files"/>.</param>
    /// <param name="data">The bytes, at least one.</param>
    /// <param name="interrupted">Cancelled when the writer got a signal: the answer is to come soon then.</param>
    /// <returns>Bytes taken (0 is an answer, too), or a negative error number.</returns>
    ValueTask<int> Write(int file, ReadOnlyMemory<byte> data, CancellationToken interrupted);
}

/// <summary>One file of a mount.</summary>
/// <param name="Name">Its name.</param>
/// <param name="IsWritable">False: opening it for writing gives EACCES, also to root, as sysfs does.</param>
public sealed record FuseFile(string Name, bool IsWritable);
