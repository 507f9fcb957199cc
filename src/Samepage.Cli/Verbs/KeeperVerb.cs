using System.CommandLine;
using Samepage.Daemon;
using Samepage.Linux.Keeper;

namespace Samepage.Cli.Verbs;

/// <summary>
/// The keeper, started by the daemon. Its own options are read before the command line parser is: it is to be small,
/// quick to start, and lives long.
/// </summary>
internal static class KeeperVerb
{
    private const string Name = "keeper";

    internal static int? TryRun(string[] args)
    {
        if (args.Length == 0 || args[0] != Name || args.Contains("--help"))
        {
            return null;
        }

        try
        {
            return KeeperProcess.Run(KeeperOptions.Parse(args[1..]));
        }
        catch (Exception error) when (error is ArgumentException or IOException)
        {
            Console.Error.WriteLine(CommandLine.ErrorPrefix + error.Message);
            return (int)(error is ArgumentException ? ExitCode.Usage : ExitCode.Failed);
        }
    }

    /// <summary>Only for --help.</summary>
    internal static Command Create() =>
        new(Name, "Serve page faults of merged memory; the daemon starts it (--socket PATH).") { Hidden = true };
}
