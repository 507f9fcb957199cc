using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>What the engine knows about one page.</summary>
internal enum PageState : byte
{
    /// <summary>Nothing: never listed, gone, or to be listed again by the next scan.</summary>
    Unknown,

    /// <summary>Read and digested; waits until a scan shows that nobody wrote it (its second visit).</summary>
    Fresh,

    /// <summary>In the unstable tree under its key.</summary>
    Candidate,

    /// <summary>In a plan that is about to be executed. Never survives a wake-up.</summary>
    Planned,

    /// <summary>Mapped from its slot.</summary>
    Merged,

    /// <summary>All-zero and taken away.</summary>
    Zeroed,

    /// <summary>Cannot be merged until it changes or is tried again.</summary>
    Unmergeable,

    /// <summary>Not read: only its sample is known, which no other page has. In the unstable tree under that.</summary>
    Sampled,
}

/// <summary>
/// All that is kept about one page, in eight bytes:
/// <code>
///  63  61  60  59                48 47                                   0
/// +------+---+---------------------+--------------------------------------+
/// |state | B |  per state          |  per state                           |
/// +------+---+---------------------+--------------------------------------+
/// Fresh        59: pass parity        47..0 key
/// Candidate    59: other domain       47..0 key
/// Sampled                             47..0 sample
/// Planned      59: presumed, 39: lone 31..0 slot (ZeroSlot: a zero plan), 47..40 attempts
/// Merged                              31..0 slot
/// Unmergeable                         7..0 reason, 47..40 attempts
/// </code>
/// B (broken): the page was merged once and a write broke the sharing, so it lies in a mapping of the store and has to
/// be <see cref="PlanKind.Reshare"/>d. An Unknown page may be broken.
/// </summary>
internal readonly record struct PageWord(ulong Bits)
{
    /// <summary>Slot number that stands for "no store page: take the zero page away". Never usable
    /// (<see cref="StoreLayout.IsUsable"/>), so no real slot has it.</summary>
    public const uint ZeroSlot = uint.MaxValue;

    private const int AttemptsShift = 40;
    private const int StateShift = 61;
    private const ulong BrokenBit = 1UL << 60;
    private const ulong FlagBit = 1UL << 59;
    private const ulong LoneBit = 1UL << 39;

    public PageState State => (PageState)(Bits >> StateShift);

    public bool IsBroken => (Bits & BrokenBit) != 0;

    /// <summary>Fresh: parity of the pass that listed it. Candidate: another domain has an equal page. Planned: it was
    /// not read, only its sample is that of the store page.</summary>
    public bool Flag => (Bits & FlagBit) != 0;

    public ulong Key => Bits & PageKey.Mask;

    /// <summary>The key the page has in the unstable tree; 0 when it is not in it.</summary>
    public ulong TreeKey => State switch
    {
        PageState.Candidate => Key,
        PageState.Sampled => Key | PageKey.OfSample,
        _ => 0,
    };

    public uint Slot => (uint)Bits;

    public NotMergedReason Reason => (NotMergedReason)(byte)Bits;

    /// <summary>Planned, Unmergeable: how often merging it has failed without a write in between.</summary>
    public int Attempts => (byte)(Bits >> AttemptsShift);

    public static PageWord Unknown(bool broken) => new(Broken(broken));

    public static PageWord Fresh(ulong key, bool parity, bool broken) => Make(PageState.Fresh, key, parity, broken);

    public static PageWord Candidate(ulong key, bool otherDomain, bool broken) =>
        Make(PageState.Candidate, key, otherDomain, broken);

    /// <summary>A page of which only the sample is known.</summary>
    /// <param name="sample">The sample, or its tree key.</param>
    /// <param name="broken">It lies in a mapping of the store.</param>
    public static PageWord Sampled(ulong sample, bool broken) =>
        Make(PageState.Sampled, sample & PageKey.Mask, false, broken);

    /// <summary>Planned and presumed: the page before it does not go to the slot before.</summary>
    public bool IsLone => (Bits & LoneBit) != 0;

    public static PageWord Planned(uint slot, int attempts, bool broken) =>
        Make(PageState.Planned, slot | Tried(attempts), false, broken);

    /// <summary>A page that was not read and has the sample of the slot's.</summary>
    public static PageWord Presumed(uint slot, bool lone) =>
        Make(PageState.Planned, slot | (lone ? LoneBit : 0), true, false);

    public static PageWord Merged(uint slot) => Make(PageState.Merged, slot, false, false);

    public static PageWord Zeroed() => Make(PageState.Zeroed, 0, false, false);

    public static PageWord Unmergeable(NotMergedReason reason, int attempts, bool broken) =>
        Make(PageState.Unmergeable, (uint)reason | Tried(attempts), false, broken);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PageWord Make(PageState state, ulong low, bool flag, bool broken) =>
        new(((ulong)state << StateShift) | (flag ? FlagBit : 0) | Broken(broken) | low);

    private static ulong Tried(int attempts) => (ulong)Math.Min(attempts, 255) << AttemptsShift;

    private static ulong Broken(bool broken) => broken ? BrokenBit : 0;
}

/// <summary>
/// The 48 bits of a page's digest that the trees are ordered by. Enough for a filter: at 100 million pages a handful of
/// pairs agree by chance, and the machine compares bytes before it merges anything. 48, because a slot's record has to
/// hold key and mapping count in eight bytes.
/// </summary>
internal static class PageKey
{
    public const int Bits = 48;
    public const ulong Mask = (1UL << Bits) - 1;

    /// <summary>Set in the tree keys of samples, so that none of them is ever taken for the key of a digest.</summary>
    public const ulong OfSample = 1UL << Bits;

    /// <summary>Never the key of a page: a store page of which only the existence is known.</summary>
    public const ulong ContentUnknown = Mask;

    /// <summary>The key of a digest: never 0 and never <see cref="ContentUnknown"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of(UInt128 digest)
    {
        ulong key = (ulong)digest & Mask;
        return key - 1 < Mask - 1 ? key : 1;
    }
}
