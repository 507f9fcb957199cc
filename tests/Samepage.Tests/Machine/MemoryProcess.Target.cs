namespace Samepage.Tests;

// What the engine sees and does.
public sealed partial class MemoryProcess
{
    /// <summary>Pages the engine has read.</summary>
    public long PagesRead { get; private set; }

    /// <summary>Pages the engine has had sampled.</summary>
    public long PagesSampled { get; private set; }

    /// <summary>Calls of Scan.</summary>
    public long Scans { get; private set; }

    /// <summary>Plans executed, by kind.</summary>
    public Dictionary<PlanKind, int> Plans { get; } = [];

    /// <summary>Calls of Execute.</summary>
    public int Executions { get; private set; }

    /// <summary>
    /// Pages in a mapping of the store planned to be shared or zeroed, and others planned to be reshared.
    /// </summary>
    public int WrongKinds { get; private set; }

    public MmuNotifiers Notifiers { get; } = new();

    public bool LeavesBreaksToPasses => true;

    public bool RefreshRegions(bool force)
    {
        Demand(_started is null, nameof(RefreshRegions));
        if (!_regionsChanged)
        {
            return false;
        }

        _regionsChanged = false;
        _regions.Clear();
        foreach (PageRange range in _mapped)
        {
            if (_regions.Count > 0 && _regions[^1].End == range.Start)
            {
                _regions[^1] = _regions[^1] with { End = range.End };
            }
            else
            {
                _regions.Add(range);
            }
        }

        return true;
    }

    public int Scan(ref ulong cursor, ulong end, Span<PageRange> runs)
    {
        Scans++;
        TimePasses();
        int count = 0;
        if (!IsAlive)
        {
            cursor = end;
            return 0;
        }

        int first = FirstChunkAt(cursor);
        for (int c = first; c < _chunks.Count && _chunks.Keys[c] < end; c++)
        {
            ulong start = _chunks.Keys[c];
            Entry[] entries = _chunks.Values[c];
            for (ulong page = Math.Max(start, cursor); page < Math.Min(start + ChunkPages, end); page++)
            {
                ref Entry entry = ref entries[page - start];
                if (entry.Backing != Backing.Anonymous || !entry.Changed)
                {
                    continue;
                }

                bool goesOn = count > 0 && runs[count - 1].End == page;
                if (!goesOn && count == runs.Length)
                {
                    machine.Spend(0, (long)(page - cursor));
                    cursor = page;
                    return count;
                }

                entry.Changed = false;
                if (goesOn)
                {
                    runs[count - 1] = runs[count - 1] with { End = page + 1 };
                }
                else
                {
                    runs[count++] = new PageRange(page, page + 1);
                }
            }
        }

        machine.Spend(0, Math.Min((long)(end - cursor), _chunks.Count * ChunkPages));
        cursor = end;
        return count;
    }

    public int ScanShared(ref ulong cursor, ulong end, Span<SharedRun> runs)
    {
        int count = 0;
        for (int c = FirstChunkAt(cursor); IsAlive && c < _chunks.Count && _chunks.Keys[c] < end; c++)
        {
            ulong start = _chunks.Keys[c];
            for (ulong page = Math.Max(start, cursor); page < Math.Min(start + ChunkPages, end); page++)
            {
                Entry entry = _chunks.Values[c][page - start];
                if (entry.Backing != Backing.Store)
                {
                    continue;
                }

                if (count > 0 && runs[count - 1].Start + runs[count - 1].Count == page
                    && runs[count - 1].Slot + runs[count - 1].Count == entry.Slot)
                {
                    runs[count - 1] = runs[count - 1] with { Count = runs[count - 1].Count + 1 };
                    continue;
                }

                if (count == runs.Length)
                {
                    cursor = page;
                    return count;
                }

                runs[count++] = new SharedRun(page, 1, entry.Slot);
            }
        }

        cursor = end;
        return count;
    }

    public int Read(ReadOnlySpan<PageRange> pages, Span<byte> destination)
    {
        int read = 0;
        TimePasses();
        foreach (PageRange range in pages)
        {
            foreach (ulong page in PagesOf(range))
            {
                if (!IsAlive || !IsMapped(page) || machine.Fires(MemoryFault.ReadFails, Pid, page))
                {
                    return read;
                }

                PageContent content = ContentOf(page);
                if (machine.Fires(MemoryFault.TornRead, Pid, page))
                {
                    // It is being written right now, and with the same bytes in the end.
                    content = content with { Second = ~content.Second };
                    At(page).Changed |= At(page).Backing == Backing.Anonymous;
                }

                content.CopyTo(destination.Slice(read * PageSize.Bytes, PageSize.Bytes));
                read++;
                PagesRead++;
                machine.Spend(1, 0);
            }
        }

        return read;
    }

    public int Sample(ReadOnlySpan<PageRange> pages, PageSampler sampler, Span<ulong> samples)
    {
        int sampled = 0;
        byte[] bytes = new byte[PageSize.Bytes];
        foreach (PageRange range in pages)
        {
            foreach (ulong page in PagesOf(range))
            {
                if (!IsAlive || sampled == samples.Length || machine.Fires(MemoryFault.SamplingEnds, Pid, page))
                {
                    return sampled;
                }

                bool fails = !IsMapped(page) || machine.Fires(MemoryFault.ReadFails, Pid, page);
                PageContent content = fails ? default : ContentOf(page);
                if (machine.Fires(MemoryFault.TornRead, Pid, page))
                {
                    content = content with { Second = ~content.Second };
                    At(page).Changed |= At(page).Backing == Backing.Anonymous;
                }

                content.CopyTo(bytes);
                samples[sampled++] = fails ? 0 : sampler.Sample(bytes);
                PagesSampled++;
                machine.Spend(0, 1);
            }
        }

        return sampled;
    }

    public void Execute(IPageStore store, Span<MergePlan> plans)
    {
        Executions++;
        Demand(_started is null, nameof(Execute));
        CheckOrder(plans);
        if (IsAlive && machine.Fires(MemoryFault.TargetExits, Pid))
        {
            Exit();
        }

        bool busy = IsAlive && machine.Fires(MemoryFault.TargetBusy, Pid);
        foreach (ref MergePlan plan in plans)
        {
            plan.DonePages = 0;
            plan.Outcome = !IsAlive ? PlanOutcome.TargetGone : busy ? PlanOutcome.TargetBusy : PlanOutcome.Done;
            if (plan.Outcome != PlanOutcome.Done)
            {
                continue;
            }

            Plans[plan.Kind] = Plans.GetValueOrDefault(plan.Kind) + 1;
            while (plan.DonePages < plan.Count)
            {
                plan.Outcome = Execute((MemoryStore)store, plan, plan.DonePages);
                if (plan.Outcome != PlanOutcome.Done)
                {
                    break;
                }

                plan.DonePages++;
            }

            Announce(store, plan);
        }
    }

    /// <summary>As the live machine: before the program could run on.</summary>
    private void Announce(IPageStore store, in MergePlan plan)
    {
        if (plan.DonePages > 0)
        {
            bool shared = plan.Kind is PlanKind.Share or PlanKind.Reshare;
            Notifiers.ChangePte(new PteChange(
                plan.Start << PageSize.Shift,
                (ulong)plan.DonePages << PageSize.Shift,
                shared ? MmuEvent.Shared : plan.Kind == PlanKind.Zero ? MmuEvent.Zeroed : MmuEvent.Unshared,
                shared ? store.Domain : null,
                shared ? (ulong)plan.Slot << PageSize.Shift : 0));
        }
    }

    private PlanOutcome Execute(MemoryStore store, in MergePlan plan, uint index)
    {
        ulong page = plan.Start + index;
        PlanOutcome fault = FaultAt(page);
        if (fault != PlanOutcome.Done)
        {
            return fault;
        }

        ref Entry entry = ref At(page);
        if (plan.Kind == PlanKind.Unshare)
        {
            return Unshare(ref entry);
        }

        if (entry.Backing != Backing.Anonymous)
        {
            return PlanOutcome.Vanished;
        }

        // As on the live machine: the engine cannot always know whether the page lies in a mapping of the store.
        if (entry.InStoreMapping != (plan.Kind == PlanKind.Reshare))
        {
            WrongKinds++;
            if (plan.Kind == PlanKind.Zero)
            {
                return PlanOutcome.Vanished;
            }
        }

        bool zero = plan.Kind == PlanKind.Zero;
        PageContent wanted = zero ? PageContent.Zero : store.ContentOf(plan.Slot + index);
        if (entry.Content != wanted && !machine.Has(MemoryFault.DoesNotCompare))
        {
            return PlanOutcome.ContentChanged;
        }

        entry.Backing = zero ? Backing.None : Backing.Store;
        entry.Store = zero ? null : store;
        entry.Slot = zero ? 0 : plan.Slot + index;
        entry.Store?.CountMapping(entry.Slot, 1);
        entry.InStoreMapping = !zero;
        entry.Changed = false;
        return PlanOutcome.Done;
    }

    private static PlanOutcome Unshare(ref Entry entry)
    {
        if (entry.Backing == Backing.Store)
        {
            entry.Content = entry.Store!.ContentOf(entry.Slot);
            Release(entry);
            entry.Backing = Backing.Anonymous;
            entry.Store = null;
            entry.Changed = true;
        }

        return PlanOutcome.Done;
    }

    private PlanOutcome FaultAt(ulong page)
    {
        if (IsMapped(page) && machine.Fires(MemoryFault.WrittenBeforeExecute, Pid, page))
        {
            Write(page, 0xBAD0_0000_0000_0000 + page);
        }

        if (machine.Fires(MemoryFault.DroppedBeforeExecute, Pid, page))
        {
            Drop(page);
        }

        return machine.Fires(MemoryFault.Pinned, Pid, page) ? PlanOutcome.Pinned
            : machine.Fires(MemoryFault.OverVmaBudget, Pid, page) ? PlanOutcome.OverVmaBudget
            : machine.Fires(MemoryFault.ThreadArea, Pid, page) ? PlanOutcome.ThreadArea
            : machine.Fires(MemoryFault.AsyncWriters, Pid, page) ? PlanOutcome.AsyncWriters
            : machine.Fires(MemoryFault.Refused, Pid, page) ? PlanOutcome.Refused
            : PlanOutcome.Done;
    }

    private void CheckOrder(ReadOnlySpan<MergePlan> plans)
    {
        for (int i = 0; i < plans.Length; i++)
        {
            if (plans[i].Count == 0 || (i > 0 && plans[i].Start < plans[i - 1].Start + plans[i - 1].Count))
            {
                machine.Violation($"plan {i} of {Name} is empty, out of order or overlaps");
            }
        }
    }

    private int FirstChunkAt(ulong page)
    {
        int low = 0;
        int high = _chunks.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_chunks.Keys[middle] + ChunkPages <= page)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
