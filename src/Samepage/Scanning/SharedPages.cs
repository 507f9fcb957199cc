namespace Samepage;

/// <summary>
/// Keeps the words of merged pages true where no write tells: a target drops merged pages with MADV_DONTNEED, moves
/// them with mremap, or comes from an earlier daemon. What the machine shows as mapped from the store is the truth;
/// words that say otherwise are put right.
/// </summary>
internal sealed class SharedPages(EngineState state)
{
    // Pages looked at by one audit: an audit of all memory goes through in many small steps.
    private const ulong AuditPages = 1 << 15;

    private readonly SharedRun[] _runs = new SharedRun[512];
    private readonly byte[] _page = new byte[PageSize.Bytes];
    private int _target;
    private ulong _page0;

    /// <summary>Adopts merged pages in spans that are new to us.</summary>
    public void Adopt(RegisteredTarget target, List<PageRange> spans)
    {
        foreach (PageRange span in spans)
        {
            Compare(target, span.Start, span.End);
        }
    }

    /// <summary>Looks at the next few merged pages, of whatever target is next.</summary>
    public void Audit()
    {
        if (_target >= state.Targets.Count)
        {
            _target = 0;
            _page0 = 0;
        }

        // At most once around.
        for (int i = 0; i < state.Targets.Count; i++)
        {
            RegisteredTarget target = state.Targets[_target];
            if (target.Pages.CountOf(PageState.Merged) > 0 && target.Target.IsAlive && AuditNext(target))
            {
                return;
            }

            _target = (_target + 1) % state.Targets.Count;
            _page0 = 0;
        }
    }

    /// <summary>Audits from <see cref="_page0"/> on.</summary>
    /// <returns>False when the target has no chunk there.</returns>
    private bool AuditNext(RegisteredTarget target)
    {
        ulong start = 0;
        ulong end = 0;
        foreach (uint chunk in target.Pages.SortedChunks())
        {
            ulong first = state.Pages.FirstPage(chunk);
            if (first < _page0)
            {
                continue;
            }

            if (end == 0)
            {
                start = first;
            }
            else if (first != end || end - start >= AuditPages)
            {
                break;
            }

            end = first + PageTable.ChunkPages;
        }

        if (end == 0)
        {
            return false;
        }

        _page0 = end;
        foreach (PageRange span in target.Spans)
        {
            PageRange part = span.Intersect(new PageRange(start, end));
            if (!part.IsEmpty)
            {
                Compare(target, part.Start, part.End);
            }
        }

        return true;
    }

    private void Compare(RegisteredTarget target, ulong start, ulong end)
    {
        ulong cursor = start;
        ulong compared = start;
        while (cursor < end)
        {
            ulong before = cursor;
            int runs = target.Target.ScanShared(ref cursor, end, _runs);
            Invariant.Check(cursor >= before && cursor <= end && runs <= _runs.Length);
            for (int i = 0; i < runs; i++)
            {
                SharedRun run = _runs[i];
                Drop(target, compared, run.Start);
                for (uint k = 0; k < run.Count; k++)
                {
                    Adopt(target, run.Start + k, run.Slot + k);
                }

                compared = run.Start + run.Count;
            }

            if (cursor == before)
            {
                break;
            }

            Drop(target, compared, cursor);
            compared = Math.Max(compared, cursor);
        }

        target.Notices.Flush();
    }

    private void Adopt(RegisteredTarget target, ulong page, uint slot)
    {
        TargetPages pages = target.Pages;
        uint id = pages.IdOf(page);
        ref ulong word = ref state.Pages[id];
        var known = new PageWord(word);
        if (known.State == PageState.Merged && known.Slot == slot)
        {
            return;
        }

        bool wasMerged = known.State == PageState.Merged;
        bool isNew = pages.Domain.Slots.KeyOf(slot) is 0 or PageKey.ContentUnknown;
        pages.Leave(ref word, PageWord.Unknown(true));
        bool adopted = pages.Domain.TryAdopt(slot, state.Digester, _page);
        if (adopted && isNew)
        {
            state.Samples.WasRead(_page);
        }

        if (adopted && pages.Domain.Slots.Mappings(slot) < SlotTable.MappingsMax)
        {
            pages.Domain.AddMapping(slot, state.Knobs.MappingsMax);
            pages.Change(ref word, PageWord.Merged(slot));
            target.Notices.Shared(page, slot);
        }
        else if (wasMerged)
        {
            target.Notices.Dropped(page);
        }
    }

    /// <summary>Pages that are not mapped from the store: none of them is merged any more. If they are there, the next
    /// scan lists them.</summary>
    private void Drop(RegisteredTarget target, ulong start, ulong end)
    {
        ulong page = start;
        while (page < end)
        {
            ulong next = Math.Min(end, (page | PageTable.OffsetMask) + 1);
            if (target.Pages.TryFindChunk(page, out uint chunk))
            {
                Span<ulong> words = state.Pages.Words(chunk)
                    .Slice((int)(page & PageTable.OffsetMask), (int)(next - page));
                for (int i = 0; i < words.Length; i++)
                {
                    if (new PageWord(words[i]).State == PageState.Merged)
                    {
                        target.Pages.Leave(ref words[i], PageWord.Unknown(true));
                        target.Notices.Dropped(page + (uint)i);
                    }
                }
            }

            page = next;
        }
    }
}
