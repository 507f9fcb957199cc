namespace Samepage;

/// <summary>
/// The one seam between the engine and memory. The engine decides what to merge; a machine knows how to look at and
/// change address spaces: the live machine does it to running processes, a simulated one in a test's own arrays.
/// Used by one thread at a time (the engine's loop).
/// </summary>
public interface IMachine
{
    /// <summary>The clock that pacing obeys; virtual on a simulated machine.</summary>
    TimeProvider Clock { get; }

    /// <summary>CPU time spent so far by whoever runs engine and machine.</summary>
    TimeSpan CpuTime { get; }

    /// <summary>The store of a trust domain, created empty on first use. The same name gives the same store.</summary>
    IPageStore OpenStore(string domain);
}

/// <summary>
/// Immutable pages of one trust domain. A page lives at a <em>slot</em> (its page index in the store). From the moment
/// a slot has been written until the machine has proven that nobody can map it any more, its bytes never change.
/// </summary>
public interface IPageStore
{
    /// <summary>Name of the trust domain.</summary>
    string Domain { get; }

    /// <summary>
    /// Slots from here on have never been written. Above 0 only in a store taken over from an earlier daemon: which of
    /// the slots below are in use is not known, they are asked to be reclaimed unless a target turns out to map them.
    /// </summary>
    uint EndSlot => 0;

    /// <summary>Writes whole pages into consecutive unused slots. Slots for which
    /// <see cref="StoreLayout.IsUsable"/> is false are never written.</summary>
    /// <exception cref="IOException">No memory for the pages; nothing was published.</exception>
    void Write(uint slot, ReadOnlySpan<byte> pages);

    /// <summary>Reads whole pages from consecutive slots.</summary>
    void Read(uint slot, Span<byte> pages);

    /// <summary>
    /// Gives the memory of unreferenced slots back to the host where the machine can prove that no process, known or
    /// not (a forked child nobody registered), can still see them. Sets <paramref name="freed"/> for each slot that was
    /// freed and may be written again; the others stay as they are and can be asked for again later.
    /// </summary>
    void Reclaim(ReadOnlySpan<uint> slots, Span<bool> freed);
}

/// <summary>Which slots of a store may hold pages.</summary>
public static class StoreLayout
{
    /// <summary>
    /// The last slot of every 512 stays empty for ever. A mapping can then never cover a whole aligned 2 MiB of the
    /// store, so MADV_COLLAPSE in a target cannot turn store pages into a huge page and drop page-table entries.
    /// </summary>
    public static bool IsUsable(uint slot) => (slot & 511) != 511;
}

/// <summary>
/// One address space under the engine's care. Used by the engine's loop only. A target that has exited or
/// executed another program reports it by <see cref="IsAlive"/> and by outcomes, never by an exception.
/// </summary>
public interface ITarget
{
    /// <summary>Process id.</summary>
    int Pid { get; }

    /// <summary>Short name (comm).</summary>
    string Name { get; }

    /// <summary>False once the process has exited or executed another program.</summary>
    bool IsAlive { get; }

    /// <summary>Number of virtual memory areas the process has now, as far as known.</summary>
    int VmaCount { get; }

    /// <summary>
    /// Those who want to hear of changed page-table entries; null on a machine that tells nobody. The machine tells
    /// them of what it does itself (Execute).
    /// </summary>
    MmuNotifiers? Notifiers => null;

    /// <summary>
    /// True where the machine cannot see a write break the sharing, or pages go: then the engine tells
    /// <see cref="Notifiers"/> in the pass in which it hears of it. False where the machine tells them as it happens.
    /// </summary>
    bool LeavesBreaksToPasses => false;

    /// <summary>
    /// Brings <see cref="Regions"/> and <see cref="NotMergedPages"/> up to date; cheap when nothing changed.
    /// </summary>
    /// <param name="force">True: look even if the cheap signs say that nothing changed.</param>
    /// <returns>True when <see cref="Regions"/> changed.</returns>
    bool RefreshRegions(bool force);

    /// <summary>
    /// Spans that may be merged: sorted, disjoint, at least one page each. Pages already merged lie in them too.
    /// </summary>
    IReadOnlyList<PageRange> Regions { get; }

    /// <summary>
    /// Resident pages outside <see cref="Regions"/>, by the reason why (indexed by <see cref="NotMergedReason"/>).
    /// </summary>
    ReadOnlySpan<long> NotMergedPages { get; }

    /// <summary>
    /// Lists pages of <c>[cursor, end)</c> that are present, private to the process (not mapped from the store, not the
    /// kernel's zero page, not swapped) and <em>changed</em>: written since the previous Scan that listed them, or
    /// never listed before. From now on their next write will be noticed. A merged page shows up here exactly when a
    /// write has broken its sharing.
    /// </summary>
    /// <param name="cursor">Page to start at; moved to where the next call has to start (<paramref name="end"/> when
    /// done).</param>
    /// <param name="end">Page to stop before.</param>
    /// <param name="runs">Receives runs in address order.</param>
    /// <returns>Number of runs, 0 also when the target is gone.</returns>
    int Scan(ref ulong cursor, ulong end, Span<PageRange> runs);

    /// <summary>
    /// Lists pages of <c>[cursor, end)</c> that are mapped from the store now, with their slots. For adopting what an
    /// earlier daemon merged and for the audit of counters (a target may drop merged pages without a write).
    /// </summary>
    int ScanShared(ref ulong cursor, ulong end, Span<SharedRun> runs);

    /// <summary>
    /// Reads pages in order into <paramref name="destination"/>; the target runs on, so the bytes may be torn.
    /// </summary>
    /// <returns>Whole pages read before the first that could not be.</returns>
    int Read(ReadOnlySpan<PageRange> pages, Span<byte> destination);

    /// <summary>
    /// Works out samples of pages (<see cref="PageSampler.Sample"/>) where that costs a small part of what reading
    /// them does. The bytes may be torn, and the pages may change at any time: a sample is a hint, as everything that is read is.
    /// </summary>
    /// <param name="pages">Pages, in address order; at most 256 ranges.</param>
    /// <param name="sampler">Which bytes, and how they are hashed.</param>
    /// <param name="samples">Receives a sample per page, in order; 0 for a page that could not be sampled.</param>
    /// <returns>Pages from the first on that were sampled, at most as many as <paramref name="samples"/> has room for; 0
    /// where this machine, or this target just now, has no cheaper way than reading.</returns>
    int Sample(ReadOnlySpan<PageRange> pages, PageSampler sampler, Span<ulong> samples) => 0;

    /// <summary>
    /// Carries out plans, which must be in address order and must not overlap, in batches that stop the target only
    /// briefly. Sets <see cref="MergePlan.Outcome"/> and <see cref="MergePlan.DonePages"/> of each. Bytes are
    /// compared with the store while nobody can write them: a plan can only be too late, never wrong.
    /// </summary>
    void Execute(IPageStore store, Span<MergePlan> plans);

    /// <summary>
    /// Begins what <see cref="Execute"/> does and may return before it is done: the machine does it beside the engine,
    /// which goes on scanning and reading, in this target too. Until <see cref="Finish"/> the plans are the
    /// machine's, nothing else is executed in this target, and its regions are not refreshed. A machine that has nobody to
    /// do it does it at once.
    /// </summary>
    void Start(IPageStore store, Memory<MergePlan> plans) => Execute(store, plans.Span);

    /// <summary>True while what <see cref="Start"/> began is not done.</summary>
    bool IsUnderWay => false;

    /// <summary>Waits until what <see cref="Start"/> began is done; nothing to wait for is fine.</summary>
    void Finish()
    {
    }

    /// <summary>
    /// No more plans come for a while: what the machine keeps in the target for the next ones goes.
    /// <see cref="Execute"/> keeps nothing.
    /// </summary>
    void Rest()
    {
    }
}

/// <summary>Consecutive pages mapped from consecutive slots.</summary>
/// <param name="Start">First page number.</param>
/// <param name="Count">Number of pages.</param>
/// <param name="Slot">Slot of the first page.</param>
public readonly record struct SharedRun(ulong Start, uint Count, uint Slot);
