using System.Buffers;

namespace Samepage;

/// <summary>
/// Gives store pages nobody maps back to the host, now and then: proving that really nobody maps a page costs the
/// machine a look at the whole system, and a page that lost its last mapping may find a new one soon. While nothing can
/// be freed it asks more and more seldom.
/// </summary>
internal sealed class Reclaimer(EngineState state)
{
    // Slots asked for at once: the proof costs the machine the same for one and for many.
    private const int SlotsMax = 1 << 16;

    // With fewer than this the host can wait for its memory a little longer.
    private const long FewSlots = 256;
    private const int LookAtMax = 1 << 20;

    private static readonly TimeSpan PauseMin = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan FewPause = TimeSpan.FromSeconds(16);
    private static readonly TimeSpan PauseMax = TimeSpan.FromSeconds(64);

    private uint[] _cursors = [];
    private TimeSpan _pause = PauseMin;
    private long _last = long.MinValue;
    private long _pruned = state.Machine.Clock.GetTimestamp();

    /// <summary>Asks for a few slots of each domain, if it is time.</summary>
    public void Step()
    {
        TimeProvider clock = state.Machine.Clock;
        long now = clock.GetTimestamp();
        if (_last == long.MinValue)
        {
            _last = now;
        }

        long slots = Unreferenced();
        TimeSpan elapsed = clock.GetElapsedTime(_last, now);
        if (slots == 0 || elapsed < _pause || (slots < FewSlots && elapsed < FewPause))
        {
            return;
        }

        _last = now;
        long freed = 0;
        foreach (MergeDomain domain in state.Domains)
        {
            freed += Ask(domain);
        }

        _pause = freed > 0 ? PauseMin : TimeSpan.FromTicks(Math.Min(_pause.Ticks * 2, PauseMax.Ticks));
    }

    /// <summary>Asks for slots nobody maps whose content has another store page: they will not find a new mapping
    /// before that one is full. Every stable_node_chains_prune_millisecs.</summary>
    public void PruneChains()
    {
        TimeProvider clock = state.Machine.Clock;
        if (clock.GetElapsedTime(_pruned).TotalMilliseconds < state.Knobs.StableNodeChainsPruneMillisecs)
        {
            return;
        }

        _pruned = clock.GetTimestamp();
        foreach (MergeDomain domain in state.Domains)
        {
            if (domain.Slots.Unreferenced > 0)
            {
                uint cursor = 0;
                Ask(domain, ref cursor, chainedOnly: true);
            }
        }
    }

    /// <summary>Asks for all unreferenced slots at once.</summary>
    public void All()
    {
        foreach (MergeDomain domain in state.Domains)
        {
            Cursor(domain) = 0;
            while (Cursor(domain) < domain.Slots.End && domain.Slots.Unreferenced > 0)
            {
                Ask(domain);
            }
        }
    }

    private int Ask(MergeDomain domain)
    {
        if (domain.Slots.Unreferenced == 0)
        {
            return 0;
        }

        ref uint cursor = ref Cursor(domain);
        if (cursor >= domain.Slots.End)
        {
            cursor = 0;
        }

        return Ask(domain, ref cursor, chainedOnly: false);
    }

    private static int Ask(MergeDomain domain, ref uint cursor, bool chainedOnly)
    {
        uint[] slots = ArrayPool<uint>.Shared.Rent(SlotsMax);
        bool[] freed = ArrayPool<bool>.Shared.Rent(SlotsMax);
        try
        {
            int found = domain.Slots.CollectUnreferenced(ref cursor, LookAtMax, slots);
            found = chainedOnly ? KeepChained(domain, slots.AsSpan(0, found)) : found;
            return found == 0 ? 0 : domain.Reclaim(slots.AsSpan(0, found), freed.AsSpan(0, found));
        }
        finally
        {
            ArrayPool<uint>.Shared.Return(slots);
            ArrayPool<bool>.Shared.Return(freed);
        }
    }

    private static int KeepChained(MergeDomain domain, Span<uint> slots)
    {
        int kept = 0;
        foreach (uint slot in slots)
        {
            if (domain.HasMappedTwin(slot))
            {
                slots[kept++] = slot;
            }
        }

        return kept;
    }

    private long Unreferenced()
    {
        long slots = 0;
        foreach (MergeDomain domain in state.Domains)
        {
            slots += domain.Slots.Unreferenced;
        }

        return slots;
    }

    private ref uint Cursor(MergeDomain domain)
    {
        if (domain.Index >= _cursors.Length)
        {
            Array.Resize(ref _cursors, domain.Index + 4);
        }

        return ref _cursors[domain.Index];
    }
}
