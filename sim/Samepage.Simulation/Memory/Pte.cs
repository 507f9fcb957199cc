namespace Samepage.Simulation;

/// <summary>
/// A page-table entry, in eight bytes as on x86-64:
/// <code>
///  63                    12   5        4         3          2       1          0
/// +------------------------+--------+---------+----------+-------+----------+---------+
/// | frame, or place in swap | shared | swapped | accessed | dirty | writable | present |
/// +------------------------+--------+---------+----------+-------+----------+---------+
/// </code>
/// Dirty: written since the engine listed the page. Shared: the frame is a store's or the zero frame, so a write has to
/// copy it whatever its count. 0: there is no page.
/// </summary>
public readonly record struct Pte(ulong Bits)
{
    internal const ulong PresentBit = 1;
    internal const ulong WritableBit = 2;
    internal const ulong DirtyBit = 4;
    internal const ulong AccessedBit = 8;
    internal const ulong SwappedBit = 16;
    internal const ulong SharedBit = 32;

    private const int FrameShift = 12;

    public bool IsNone => Bits == 0;

    public bool IsPresent => (Bits & PresentBit) != 0;

    public bool IsWritable => (Bits & WritableBit) != 0;

    public bool IsDirty => (Bits & DirtyBit) != 0;

    public bool IsSwapped => (Bits & SwappedBit) != 0;

    public bool IsShared => (Bits & SharedBit) != 0;

    /// <summary>The frame of a present page; the place of a swapped one.</summary>
    public uint Frame => (uint)(Bits >> FrameShift);

    /// <summary>A private page that has just been written.</summary>
    internal static Pte Written(uint frame) =>
        new(((ulong)frame << FrameShift) | PresentBit | WritableBit | DirtyBit | AccessedBit);

    /// <summary>A private page.</summary>
    internal static Pte Private(uint frame, bool writable) =>
        new(((ulong)frame << FrameShift) | PresentBit | DirtyBit | AccessedBit | (writable ? WritableBit : 0));

    /// <summary>A page of a store, or the zero page: read-only.</summary>
    internal static Pte Shared(uint frame) => new(((ulong)frame << FrameShift) | PresentBit | SharedBit | AccessedBit);

    internal static Pte Swapped(uint place) => new(((ulong)place << FrameShift) | SwappedBit);

    internal Pte With(ulong bits) => new(Bits | bits);

    internal Pte Without(ulong bits) => new(Bits & ~bits);
}
