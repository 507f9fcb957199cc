namespace Samepage;

/// <summary>
/// The kinds of failure. 1 to 5 are the exit codes of the command line and <c>exit_code</c> of problem documents.
/// </summary>
public enum SamepageError
{
    /// <summary>Tried and failed; the message says what to do. HTTP status 409 or 500.</summary>
    Failed = 1,

    /// <summary>Asked for something that makes no sense. HTTP status 400.</summary>
    Usage = 2,

    /// <summary>The daemon's host lacks something that is needed. HTTP status 501.</summary>
    HostNotSupported = 3,

    /// <summary>A right is missing: the daemon's towards a process (HTTP status 403), or the caller's to the socket.
    /// </summary>
    NotPermitted = 4,

    /// <summary>No such process, or no such region in it. HTTP status 404.</summary>
    NotFound = 5,

    /// <summary>No daemon answers at the socket, or it went away before its answer was complete.</summary>
    NoDaemon = 6,
}

/// <summary>A request that was not done. The message is one line that says what is wrong and what to do.</summary>
public sealed class SamepageException : IOException
{
    /// <summary>A refusal.</summary>
    /// <param name="error">Its kind.</param>
    /// <param name="message">One line for people.</param>
    /// <param name="cause">What is behind it, if anything.</param>
    public SamepageException(SamepageError error, string message, Exception? cause = null)
        : base(message, cause) => Error = error;

    /// <summary>The kind of failure.</summary>
    public SamepageError Error { get; }
}
