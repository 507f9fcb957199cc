namespace Samepage;

/// <summary>Body of POST /v1/runs.</summary>
internal sealed record RunBody
{
    /// <summary>The process that is about to execute the command.</summary>
    public required int Pid { get; init; }

    /// <summary>Number of its system call filter's listener; none when the filter of an outer run is there
    /// already.</summary>
    public int? Fd { get; init; }

    /// <summary>Trust domain of all processes of the command; each user's own by default.</summary>
    public string? Domain { get; init; }

    /// <summary>Everything of the first process is registered, as by PR_SET_MEMORY_MERGE: inherited by all it starts.
    /// </summary>
    public bool WholeProcess { get; init; }

    /// <summary>What stands for /dev/ksm in the command's mount namespace.</summary>
    public FileBody? Device { get; init; }
}

/// <summary>A file by its numbers.</summary>
internal sealed record FileBody
{
    /// <summary>File system (st_dev).</summary>
    public required ulong Device { get; init; }

    /// <summary>Inode number (st_ino).</summary>
    public required ulong Inode { get; init; }
}

/// <summary>Answer of GET /v1/runs.</summary>
/// <param name="Runs">The commands.</param>
internal sealed record RunsDocument(IReadOnlyList<RunDocument> Runs);

/// <summary>One command under <c>samepage run</c>.</summary>
/// <param name="Id">Its name, for as long as it runs.</param>
/// <param name="Domain">Trust domain; null: each user's own.</param>
/// <param name="Pids">Its processes, as far as known.</param>
/// <param name="Calls">KSM calls answered by this daemon.</param>
internal sealed record RunDocument(string Id, string? Domain, IReadOnlyList<int> Pids, long Calls);
