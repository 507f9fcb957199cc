namespace Samepage.Simulation;

// The system calls that change what is mapped.
public sealed partial class MemoryManager
{
    /// <summary>mmap of private anonymous memory; what was there is unmapped.</summary>
    internal void Map(AddressSpace space, PageRange range, bool writable = true)
    {
        Unmap(space, range);
        space.AddVma(new Vma(range, writable));
    }

    /// <summary>munmap.</summary>
    internal void Unmap(AddressSpace space, PageRange range)
    {
        if (space.CutOut(range).Count > 0)
        {
            Drop(space, range);
        }
    }

    /// <summary>madvise(MADV_DONTNEED): the pages are gone, and read as zeros from now on.</summary>
    internal void Drop(AddressSpace space, PageRange range)
    {
        MmuRange notified = Begin(space, range);
        ulong page = range.Start;
        while (space.Table.NextLeaf(ref page, range.End) is { } leaf)
        {
            ulong end = Math.Min(range.End, (page | (RadixTable<ulong>.LeafPages - 1)) + 1);
            for (; page < end; page++)
            {
                ref ulong entry = ref leaf[page % RadixTable<ulong>.LeafPages];
                if (entry != 0)
                {
                    Release(space, page, new Pte(entry));
                    entry = 0;
                }
            }
        }

        Flush(space, range);
        space.Notifiers.InvalidateRangeEnd(notified);
    }

    /// <summary>mremap: moves pages; the source is unmapped.</summary>
    internal void Move(AddressSpace space, PageRange from, ulong to)
    {
        Unmap(space, new PageRange(to, to + from.Count));
        MmuRange notified = Begin(space, from);
        foreach (Vma part in space.CutOut(from))
        {
            ulong start = to + (part.Range.Start - from.Start);
            space.AddVma(part with { Range = new PageRange(start, start + part.Range.Count) });
        }

        for (ulong page = from.Start; page < from.End; page++)
        {
            ulong bits = space.Table.Get(page);
            if (bits == 0)
            {
                continue;
            }

            ulong target = to + (page - from.Start);
            space.Table.Touch(target) = bits;
            space.Table.Touch(page) = 0;
            var pte = new Pte(bits);
            if (pte.IsPresent)
            {
                // Nobody has listed it at its new place; the kernel too marks what it moves as written.
                space.Table.Touch(target) |= pte.IsShared ? 0 : Pte.DirtyBit;
                Frames.MoveMapping(pte.Frame, space.KeyOf(page), space.KeyOf(target));
            }
        }

        Flush(space, from);
        space.Notifiers.InvalidateRangeEnd(notified);
    }

    /// <summary>mprotect.</summary>
    internal void Protect(AddressSpace space, PageRange range, bool writable)
    {
        MmuRange notified = Begin(space, range);
        foreach (Vma part in space.CutOut(range))
        {
            space.AddVma(part with { IsWritable = writable });
            if (writable != part.IsWritable)
            {
                ChangeEntries(space, part.Range, writable);
            }
        }

        space.Notifiers.InvalidateRangeEnd(notified);
    }

    /// <summary>fork: the child shows the same frames, and whoever writes first gets a copy.</summary>
    internal AddressSpace Fork(AddressSpace parent)
    {
        AddressSpace child = CreateSpace();
        child.CopyVmas(parent);
        MmuRange[] notified = [.. parent.Vmas.Select(vma => Begin(parent, vma.Range))];
        parent.Table.ForEachLeaf((first, leaf) =>
        {
            for (int i = 0; i < leaf.Length; i++)
            {
                if (leaf[i] != 0)
                {
                    leaf[i] = CopyEntry(child, first + (ulong)i, new Pte(leaf[i])).Bits;
                }
            }
        });
        if (Mutant != Mutant.ForkWithoutProtect)
        {
            FlushSpace(parent);
        }

        foreach (MmuRange range in notified)
        {
            parent.Notifiers.InvalidateRangeEnd(range);
        }

        return child;
    }

    /// <summary>The process is gone.</summary>
    internal void Exit(AddressSpace space)
    {
        space.Notifiers.Release();
        space.IsAlive = false;
        space.Table.ForEachLeaf((first, leaf) =>
        {
            for (int i = 0; i < leaf.Length; i++)
            {
                if (leaf[i] != 0)
                {
                    Release(space, first + (ulong)i, new Pte(leaf[i]));
                    leaf[i] = 0;
                }
            }
        });
        FlushSpace(space);
    }

    /// <summary>Takes the right to write away. What becomes writable is watched for writes from now on, so it counts as
    /// never listed.</summary>
    private void ChangeEntries(AddressSpace space, PageRange range, bool writable)
    {
        ulong page = range.Start;
        while (space.Table.NextLeaf(ref page, range.End) is { } leaf)
        {
            ulong end = Math.Min(range.End, (page | (RadixTable<ulong>.LeafPages - 1)) + 1);
            for (; page < end; page++)
            {
                ref ulong entry = ref leaf[page % RadixTable<ulong>.LeafPages];
                var pte = new Pte(entry);
                if (pte.IsPresent)
                {
                    entry = writable && !pte.IsShared ? pte.With(Pte.DirtyBit).Bits
                        : pte.Without(Pte.WritableBit).Bits;
                }
            }
        }

        Flush(space, range);
    }

    /// <summary>Gives the child an entry.</summary>
    /// <returns>The parent's from now on.</returns>
    private Pte CopyEntry(AddressSpace child, ulong page, Pte pte)
    {
        if (pte.IsSwapped)
        {
            Swap.Share(pte.Frame);
            child.SwappedPages++;
            child.Table.Touch(page) = pte.Bits;
            return pte;
        }

        ref Frame frame = ref Frames[pte.Frame];
        if (!pte.IsShared && frame.ExtraReferences > 0)
        {
            // Held by direct I/O or the like, which has to go on into the parent's page: the child gets a copy now.
            uint copy = Map(Frames.Allocate(FrameKind.Anonymous, frame.Content), child, page);
            child.Table.Touch(page) = Pte.Private(copy, pte.IsWritable).Bits;
            return pte;
        }

        Pte both = Mutant == Mutant.ForkWithoutProtect ? pte : pte.Without(Pte.WritableBit);
        Map(pte.Frame, child, page);
        child.Table.Touch(page) = both.Bits;
        return both;
    }

    private void Release(AddressSpace space, ulong page, Pte pte)
    {
        if (pte.IsPresent)
        {
            Frames.RemoveMapping(pte.Frame, space.KeyOf(page));
        }
        else
        {
            Swap.Drop(pte.Frame);
            space.SwappedPages--;
        }
    }
}
