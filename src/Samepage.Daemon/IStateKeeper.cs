namespace Samepage.Daemon;

/// <summary>
/// Keeps the daemon's registrations and knobs across its death. The text is the daemon's own affair: whoever keeps it
/// only hands it back.
/// </summary>
public interface IStateKeeper
{
    /// <summary>What was saved last; null when nothing was.</summary>
    string? Load();

    /// <summary>Replaces what was saved. Failing is not an error of the request that changed the state.</summary>
    void Save(string state);

    /// <summary>The daemon ends on purpose and needs no successor.</summary>
    void Goodbye();
}

/// <summary>Forgets everything with the daemon: for tests and for a daemon told to run without a keeper.</summary>
public sealed class NoStateKeeper : IStateKeeper
{
    private string? saved;

    /// <inheritdoc/>
    public string? Load() => saved;

    /// <inheritdoc/>
    public void Save(string state) => saved = state;

    /// <inheritdoc/>
    public void Goodbye()
    {
    }
}
