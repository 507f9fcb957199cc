using Microsoft.Extensions.Logging;

namespace Samepage.Daemon.Hosting;

/// <summary>How a daemon is to run.</summary>
public sealed record DaemonOptions
{
    /// <summary>Path of the socket.</summary>
    public required string Socket { get; init; }

    /// <summary>Un-merge and detach everything when asked to end.</summary>
    public bool UnmergeOnExit { get; init; }

    /// <summary>Logs as JSON lines.</summary>
    public bool JsonLog { get; init; }

    /// <summary>What is logged.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>Let go of standard error once requests are answered (a verb started this daemon).</summary>
    public bool Detached { get; init; }

    /// <summary>File the log goes to after letting go of standard error; none by default.</summary>
    public string? LogFile { get; init; }

    /// <summary>Opens the source of targets, on the engine's thread.</summary>
    public required Func<ITargetProvider> OpenTargets { get; init; }

    /// <summary>Where registrations survive the daemon.</summary>
    public required IStateKeeper Keeper { get; init; }
}
