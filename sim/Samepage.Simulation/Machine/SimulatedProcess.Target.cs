namespace Samepage.Simulation;

// What the engine sees and does.
public sealed partial class SimulatedProcess
{
    private readonly List<PageRange> _regions = [];
    private readonly long[] _notMerged = new long[NotMergedReasonNames.Count];
    private long _version = -1;

    public int VmaCount => Space.Vmas.Count;

    public IReadOnlyList<PageRange> Regions => _regions;

    public ReadOnlySpan<long> NotMergedPages
    {
        get
        {
            _notMerged[(int)NotMergedReason.Swapped] = Space.SwappedPages;
            return _notMerged;
        }
    }

    public bool RefreshRegions(bool force)
    {
        if (_version == Space.Version)
        {
            return false;
        }

        _version = Space.Version;
        _regions.Clear();
        _notMerged[(int)NotMergedReason.NotWritable] = 0;
        foreach (Vma vma in Space.Vmas)
        {
            if (vma.IsWritable)
            {
                _regions.Add(vma.Range);
            }
            else
            {
                _notMerged[(int)NotMergedReason.NotWritable] += Resident(vma.Range);
            }
        }

        return true;
    }

    public int Scan(ref ulong cursor, ulong end, Span<PageRange> runs)
    {
        int count = 0;
        ulong start = cursor;
        ulong page = cursor;
        bool full = false;
        while (!full && IsAlive && Space.Table.NextLeaf(ref page, end) is { } leaf)
        {
            ulong leafEnd = Math.Min(end, (page | (RadixTable<ulong>.LeafPages - 1)) + 1);
            for (; page < leafEnd; page++)
            {
                ref ulong entry = ref leaf[page % RadixTable<ulong>.LeafPages];
                const ulong listed = Pte.PresentBit | Pte.DirtyBit;
                if ((entry & (listed | Pte.SharedBit)) != listed)
                {
                    continue;
                }

                bool goesOn = count > 0 && runs[count - 1].End == page;
                if (!goesOn && count == runs.Length)
                {
                    full = true;
                    break;
                }

                entry &= ~Pte.DirtyBit;
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

        cursor = full ? page : end;
        WatchWrites(runs[..count]);
        _machine.Spend(0, (long)Math.Min(cursor - start, (ulong)Space.Table.Leaves * RadixTable<ulong>.LeafPages));
        if (count > 0)
        {
            _machine.Point(SchedulingPoint.Listed, this, runs[0].Start);
        }

        return count;
    }

    public int ScanShared(ref ulong cursor, ulong end, Span<SharedRun> runs)
    {
        int count = 0;
        ulong page = cursor;
        while (IsAlive && Space.Table.NextLeaf(ref page, end) is { } leaf)
        {
            ulong leafEnd = Math.Min(end, (page | (RadixTable<ulong>.LeafPages - 1)) + 1);
            for (; page < leafEnd; page++)
            {
                var pte = new Pte(leaf[page % RadixTable<ulong>.LeafPages]);
                if (!pte.IsPresent || !pte.IsShared || _memory.Frames[pte.Frame].Kind != FrameKind.Store)
                {
                    continue;
                }

                uint slot = _memory.Frames.StorePlaceOf(pte.Frame).Slot;
                if (count > 0 && runs[count - 1].Start + runs[count - 1].Count == page
                    && runs[count - 1].Slot + runs[count - 1].Count == slot)
                {
                    runs[count - 1] = runs[count - 1] with { Count = runs[count - 1].Count + 1 };
                    continue;
                }

                if (count == runs.Length)
                {
                    cursor = page;
                    return count;
                }

                runs[count++] = new SharedRun(page, 1, slot);
            }
        }

        cursor = end;
        return count;
    }

    public int Read(ReadOnlySpan<PageRange> pages, Span<byte> destination)
    {
        int read = 0;
        foreach (PageRange range in pages)
        {
            for (ulong page = range.Start; page < range.End; page++)
            {
                Span<byte> bytes = destination.Slice(read * PageSize.Bytes, PageSize.Bytes);
                if (!IsAlive || _machine.Fires(MachineFault.ReadFails) || !TryCopyHalf(page, 0, bytes))
                {
                    return read;
                }

                // The process runs on: what comes now may be of another time.
                _machine.Point(SchedulingPoint.HalfRead, this, page);
                if (!IsAlive || !TryCopyHalf(page, 1, bytes))
                {
                    return read;
                }

                read++;
            }
        }

        _machine.Spend(read, 0);
        return read;
    }

    public int Sample(ReadOnlySpan<PageRange> pages, PageSampler sampler, Span<ulong> samples)
    {
        ArgumentNullException.ThrowIfNull(sampler);
        int sampled = 0;
        Span<byte> bytes = stackalloc byte[PageSize.Bytes];
        foreach (PageRange range in pages)
        {
            for (ulong page = range.Start; page < range.End && sampled < samples.Length; page++)
            {
                if (!IsAlive)
                {
                    return sampled;
                }

                // As when it is read: between the lines the process may run on.
                bool there = !_machine.Fires(MachineFault.ReadFails) && TryCopyHalf(page, 0, bytes);
                _machine.Point(SchedulingPoint.HalfRead, this, page);
                there = there && IsAlive && TryCopyHalf(page, 1, bytes);
                samples[sampled++] = there ? sampler.Sample(bytes) : 0;
            }
        }

        _machine.Spend(0, sampled);
        return sampled;
    }

    /// <summary>A new daemon tracks writes from its own start: every page counts as changed.</summary>
    public void ForgetTracking()
    {
        _version = -1;
        Space.Table.ForEachLeaf((_, leaf) =>
        {
            foreach (ref ulong entry in leaf.AsSpan())
            {
                entry |= new Pte(entry).IsPresent ? Pte.DirtyBit : 0;
            }
        });
    }

    private bool TryCopyHalf(ulong page, int half, Span<byte> bytes)
    {
        if (!_memory.TryGetFrame(Space, page, write: false, out uint frame))
        {
            return false;
        }

        _memory.Frames[frame].Content.CopyHalf(half, bytes);
        return true;
    }

    /// <summary>
    /// Sees to it that the next write of these pages sets the dirty bit again: no CPU may remember it as set, and no
    /// secondary MMU may write through a translation of its own.
    /// </summary>
    private void WatchWrites(ReadOnlySpan<PageRange> runs)
    {
        foreach (PageRange run in runs)
        {
            _memory.Flush(Space, run);
            if (Space.Notifiers.Count == 0)
            {
                continue;
            }

            if (_memory.Rule == NotificationRule.InvalidateRange)
            {
                Space.Notifiers.InvalidateRangeEnd(
                    Space.Notifiers.InvalidateRangeStart(run.StartAddress, run.EndAddress));
                continue;
            }

            for (ulong page = run.Start; page < run.End; page++)
            {
                Space.Notifiers.ChangePte(new PteChange(
                    page << PageSize.Shift,
                    PageSize.Bytes,
                    MmuEvent.WriteProtected,
                    Frame: Space.PteOf(page).Frame));
            }
        }
    }

    private long Resident(PageRange range)
    {
        long count = 0;
        for (ulong page = range.Start; page < range.End; page++)
        {
            count += Space.PteOf(page).IsPresent ? 1 : 0;
        }

        return count;
    }
}
