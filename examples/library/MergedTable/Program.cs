using System.Globalization;
using Samepage.Examples;

// MergedTable [--socket PATH] [--workers N] [--mebibytes M]     starts workers, merges, lets them write, checks
// MergedTable worker PATH M                                     one worker; commands on standard input
try
{
    if (args is ["worker", var workerSocket, var size])
    {
        await Worker.Run(workerSocket, int.Parse(size, CultureInfo.InvariantCulture) << 20);
        return 0;
    }

    var options = Options.Parse(args);
    return await Demonstration.Run(options) ? 0 : 1;
}
catch (Exception error) when (error is Samepage.SamepageException or ArgumentException or OutOfMemoryException)
{
    Console.Error.WriteLine($"MergedTable: {error.Message}");
    return error is ArgumentException ? 2 : 1;
}
