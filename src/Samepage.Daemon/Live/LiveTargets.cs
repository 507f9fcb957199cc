namespace Samepage.Daemon.Live;

/// <summary>Targets that are live processes.</summary>
public static class LiveTargets
{
    /// <summary>Opens the live machine.</summary>
    /// <exception cref="RequestException">This host cannot do it.</exception>
    public static ITargetProvider Open() =>
        throw new RequestException(ExitCode.HostNotSupported, "the live machine is not part of this build");
}
