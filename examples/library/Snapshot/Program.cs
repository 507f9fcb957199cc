using Samepage;
using Samepage.Examples;

// Snapshot write FILE [--socket PATH] PID...    stops the processes, writes their memory, lets them go on (--keep-stopped: not)
// Snapshot verify FILE                          compares every byte of the file with /proc/PID/mem of the same processes
try
{
    var options = Options.Parse(args);
    if (options.Verb == "verify")
    {
        long pages = SnapshotFile.Verify(options.File);
        Console.WriteLine($"{pages} pages are as they were");
        return 0;
    }

    SnapshotCounts counts = await Taker.Take(options);
    Console.WriteLine(counts);
    return 0;
}
catch (Exception error) when (error is SamepageException or ArgumentException or IOException or InvalidDataException
    or UnauthorizedAccessException)
{
    Console.Error.WriteLine($"Snapshot: {error.Message}");
    return error is ArgumentException ? 2 : 1;
}
