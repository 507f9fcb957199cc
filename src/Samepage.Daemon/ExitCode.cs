namespace Samepage.Daemon;

/// <summary>How a verb ends; the daemon's problem documents carry the same number.</summary>
public enum ExitCode
{
    /// <summary>Done.</summary>
    Done = 0,

    /// <summary>Tried and failed.</summary>
    Failed = 1,

    /// <summary>Asked for something that makes no sense.</summary>
    Usage = 2,

    /// <summary>This host lacks something that is needed.</summary>
    HostNotSupported = 3,

    /// <summary>The caller lacks a right.</summary>
    NotPermitted = 4,

    /// <summary>No such process, or no such region in it.</summary>
    NotFound = 5,
}

/// <summary>A request that cannot be done. Its message is the one line the user sees, and says what to do.</summary>
public sealed class RequestException : Exception
{
    /// <summary>A refusal with its exit code and its line.</summary>
    public RequestException(ExitCode code, string message, Exception? cause = null)
        : base(message, cause) => Code = code;

    /// <summary>What the command line ends with.</summary>
    public ExitCode Code { get; }
}
