namespace Samepage.Simulation;

/// <summary>What a frame of physical memory is used for.</summary>
public enum FrameKind : byte
{
    Free,

    /// <summary>Private memory of one process, or of several after fork.</summary>
    Anonymous,

    /// <summary>A page of a store: never written while it is one.</summary>
    Store,

    /// <summary>The one page of zeros that reading untouched memory shows.</summary>
    Zero,
}

/// <summary>
/// A frame of physical memory, in 32 bytes. Who is neither a mapping nor the store and holds a reference (direct I/O, a
/// look by KSM) is an <em>extra</em> reference: the frame must not be replaced under him.
/// </summary>
public struct Frame
{
    private const int KindShift = 28;
    private const uint MappingsMask = (1u << KindShift) - 1;

    public PageContent Content;

    /// <summary>Where it is mapped, while that is one place; see <see cref="PhysicalMemory"/>. Free: the next free one.
    /// </summary>
    internal ulong Mapping;

    /// <summary>Mappings, plus 1 when a store owns it, plus extra ones.</summary>
    internal int References;
    private uint _state;

    public readonly FrameKind Kind => (FrameKind)(_state >> KindShift);

    /// <summary>Page-table entries that show it.</summary>
    public readonly int Mappings => (int)(_state & MappingsMask);

    public readonly int ExtraReferences => References - Mappings - (Kind == FrameKind.Store ? 1 : 0);

    internal void Become(FrameKind kind) => _state = (uint)kind << KindShift;

    internal void CountMapping(int by)
    {
        References += by;
        _state = (uint)(_state + by);
    }
}
