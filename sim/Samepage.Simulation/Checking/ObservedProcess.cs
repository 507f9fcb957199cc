namespace Samepage.Simulation;

/// <summary>One page of a process as an outside observer finds it.</summary>
/// <param name="Page">Page number.</param>
/// <param name="Written">The bytes the program wrote there last, or a digest of them.</param>
/// <param name="Reads">What it would read there now, in the same form.</param>
/// <param name="IsShared">The page belongs to a store, or is the zero page.</param>
/// <param name="IsWritable">Its entry allows a write without a fault.</param>
/// <param name="Store">Trust domain of the store it is mapped from; null when it is not.</param>
/// <param name="Slot">Slot in that store.</param>
public readonly record struct ObservedPage(
    ulong Page, UInt128 Written, UInt128 Reads, bool IsShared, bool IsWritable, string? Store = null, uint Slot = 0);

/// <summary>
/// A process as the checker looks at it, whatever it runs on: the simulated machine, an array in a unit test, a real
/// kernel.
/// </summary>
public interface IObservedProcess
{
    /// <summary>Short name.</summary>
    string Name { get; }

    /// <summary>False once it has exited.</summary>
    bool IsAlive { get; }

    /// <summary>Its pages: at least those with an entry, and those the program has written.</summary>
    IEnumerable<ObservedPage> Observe();
}

/// <summary>A rule that was seen broken.</summary>
/// <param name="Check">Which check saw it, in one word.</param>
/// <param name="What">What was seen.</param>
public sealed record Violation(string Check, string What)
{
    public override string ToString() => $"{Check}: {What}";
}
