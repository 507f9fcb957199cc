using System.Runtime.CompilerServices;
using Samepage.Daemon;
using Samepage.Linux.Keeper;

namespace Samepage.Cli.Verbs;

/// <summary>
/// <c>samepage keeper</c>: the process that serves merged memory when the daemon is not there. Started by the daemon,
/// never by people, so it is in no help text.
/// </summary>
internal static class KeeperVerb
{
    internal static int? TryRun(string[] args, Terminal terminal) =>
        args is ["keeper", ..] ? Run(args, terminal) : null;

    // Of its own, so that no other verb loads it.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Run(string[] args, Terminal terminal)
    {
        try
        {
            return KeeperProcess.Run(KeeperOptions.Parse(args[1..]));
        }
        catch (ArgumentException error)
        {
            terminal.Error.WriteLine(CommandLine.ErrorPrefix + error.Message);
            return (int)ExitCode.Usage;
        }
        catch (IOException error)
        {
            terminal.Error.WriteLine(CommandLine.ErrorPrefix + error.Message);
            return (int)ExitCode.Failed;
        }
    }
}
