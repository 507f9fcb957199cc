using Microsoft.Win32.SafeHandles;

namespace Samepage.Linux.Interception;

/// <summary>
/// Who holds descriptors across the daemon's death: the keeper process. Thread-safe. Every method may throw
/// <see cref="IOException"/> when the keeper cannot be reached.
/// </summary>
public interface IDescriptorKeeper
{
    /// <summary>Has a duplicate of a descriptor held under a name; one held under that name before is closed.</summary>
    void Keep(string name, SafeFileHandle descriptor);

    /// <summary>Lets go of it; harmless when it is not held.</summary>
    void LetGo(string name);

    /// <summary>Names of what is held.</summary>
    IReadOnlyList<string> Kept();

    /// <summary>A duplicate of what is held under a name, which stays held; null when nothing is.</summary>
    SafeFileHandle? TakeKept(string name);
}
