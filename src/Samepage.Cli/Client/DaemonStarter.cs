using System.Globalization;
using Samepage.Daemon;
using Samepage.Daemon.Hosting;
using Samepage.Linux.Host;
using Samepage.Linux.Interop;

namespace Samepage.Cli.Client;

/// <summary>Connects to the daemon, and starts one when none answers.</summary>
internal static class DaemonStarter
{
    /// <summary>Last line a daemon that could not start writes for the verb that started it.</summary>
    internal const string ExitCodePrefix = "exit-code: ";

    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(30);

    /// <summary>A connection to a daemon, started if necessary.</summary>
    /// <exception cref="RequestException">None is there and none can be started.</exception>
    internal static DaemonClient Connect(string socket) => Connect(socket, out _);

    /// <inheritdoc cref="Connect(string)"/>
    internal static DaemonClient Connect(string socket, out bool started)
    {
        started = false;
        if (DaemonClient.TryConnect(socket, out var errno) is { } client)
        {
            return client;
        }

        if (errno is not (Errno.ENOENT or HostCalls.ECONNREFUSED))
        {
            throw Unreachable(socket, errno);
        }

        var text = Start(Path.GetFullPath(socket));
        started = true;
        return DaemonClient.TryConnect(socket, out errno) ?? WaitForOther(text, socket) ?? throw Failed(text, socket);
    }

    // Somebody else - another verb, or the keeper after a crash - is starting one right now and has the lock already.
    private static DaemonClient? WaitForOther(string? text, string socket)
    {
        if (text?.Contains(SocketFile.AlreadyRuns, StringComparison.Ordinal) != true)
        {
            return null;
        }

        for (var clock = TimeProvider.System.GetTimestamp();
            TimeProvider.System.GetElapsedTime(clock) < StartTimeout;
            Thread.Sleep(10))
        {
            if (DaemonClient.TryConnect(socket, out _) is { } client)
            {
                return client;
            }
        }

        return null;
    }

    private static string? Start(string socket)
    {
        var program = Environment.ProcessPath
            ?? throw new RequestException(ExitCode.Failed, "this program's own path is unknown: no daemon started");
        try
        {
            using var daemon = DetachedStart.Start(program, "daemon", "--detached", "--socket", socket);
            return daemon.ReadUntilReleased(StartTimeout);
        }
        catch (IOException error)
        {
            throw new RequestException(ExitCode.Failed, $"no daemon could be started: {error.Message}", error);
        }
    }

    private static RequestException Failed(string? text, string socket)
    {
        if (text is null)
        {
            return new RequestException(
                ExitCode.Failed,
                $"the daemon does not answer at {socket} after {StartTimeout.TotalSeconds} s: try samepage daemon");
        }

        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var code = lines.LastOrDefault(line => line.StartsWith(ExitCodePrefix, StringComparison.Ordinal));
        var reason = lines.LastOrDefault(line => line.StartsWith(CommandLine.ErrorPrefix, StringComparison.Ordinal));
        return new RequestException(
            int.TryParse(code?[ExitCodePrefix.Length..], CultureInfo.InvariantCulture, out var number)
                ? (ExitCode)number
                : ExitCode.Failed,
            reason is null
                ? $"no daemon answers at {socket} and the one started ended without a word: try samepage daemon"
                : reason[CommandLine.ErrorPrefix.Length..]);
    }

    private static RequestException Unreachable(string socket, int errno) => errno switch
    {
        Errno.EACCES or Errno.EPERM => new RequestException(
            ExitCode.NotPermitted, $"the daemon's socket {socket} belongs to another user: be that user, or root"),
        HostCalls.ENAMETOOLONG => new RequestException(
            ExitCode.Usage, $"the socket path {socket} is too long: choose a shorter --socket PATH"),
        _ => new RequestException(ExitCode.Failed, $"the socket {socket} cannot be used (errno {errno})"),
    };
}
