namespace Samepage.Linux;

/// <summary>Why something could not be done to a process; each value is one exit code of the command line.</summary>
public enum TargetError
{
    /// <summary>There is no process with that id, or it has exited.</summary>
    NoSuchProcess,

    /// <summary>The process has no memory where a range was asked for.</summary>
    NoSuchRegion,

    /// <summary>The caller or this program lacks a permission.</summary>
    NotPermitted,

    /// <summary>The kernel or the machine lacks something that merging needs.</summary>
    HostNotSupported,

    /// <summary>The process is of a kind that is not merged (kernel thread, 32-bit, zombie), or the kernel refused.</summary>
    Refused,

    /// <summary>The request itself makes no sense.</summary>
    Usage,
}

/// <summary>A process cannot be worked on. <see cref="Exception.Message"/> is one line that says what to do.</summary>
public sealed class TargetException : Exception
{
    /// <summary>Describes a failure.</summary>
    /// <param name="error">Its kind.</param>
    /// <param name="message">One clear line for the user.</param>
    /// <param name="pid">The process, where it is about one.</param>
    /// <param name="errno">The kernel's error number, where one was behind it.</param>
    public TargetException(TargetError error, string message, int? pid = null, int? errno = null)
        : base(message)
    {
        Error = error;
        Pid = pid;
        Errno = errno;
    }

    /// <summary>Kind of failure.</summary>
    public TargetError Error { get; }

    /// <summary>The process it is about.</summary>
    public int? Pid { get; }

    /// <summary>The kernel's error number.</summary>
    public int? Errno { get; }
}
