namespace Samepage;

/// <summary>
/// Brings the words of one target's pages up to date: asks the machine which pages changed, reads and digests those and
/// only those, and lets the pages that have waited long enough be decided about. Where it stopped is kept in the
/// target, so that a pass may be cut into any number of wake-ups.
/// </summary>
internal sealed class Scanner(EngineState state, Matcher matcher, PageBatch batch, Sampler sampler)
{
    // First window of a region walk. Each window without a changed page doubles it: a huge, sparse or idle region
    // takes few calls, and a busy one cannot hold a wake-up for long.
    private const ulong WindowPages = 1 << 18;

    // Pages that are walked over in a tenth of a millisecond or two.
    private const ulong ShortWalkPages = 1 << 12;

    // Pages of all targets together that are read by turns.
    private const long UnreadPages = 1024;

    // Attempts after which a page that cannot be merged is tried again no more seldom.
    private const int AttemptsMax = 6;

    private readonly ulong[] _samples = new ulong[PageBatch.PagesMax];
    private uint _touched;

    /// <summary>Goes on with the scan of a target's spans.</summary>
    /// <param name="target">The target.</param>
    /// <param name="budget">What may be done.</param>
    /// <param name="atOnce">Decide about changed pages at once, without a second visit.</param>
    /// <returns>True when all spans are through.</returns>
    public bool ScanSome(RegisteredTarget target, WakeBudget budget, bool atOnce)
    {
        ScanCursor cursor = target.Cursor;
        while (true)
        {
            // All that is listed is sampled before any of it is read: sampling needs the target, and from the first pages that
            // were read on it is needed for carrying out plans.
            if (atOnce && cursor.HasListed && sampler.IsWorthIt(cursor))
            {
                if (budget.IsExhausted)
                {
                    return false;
                }

                sampler.VisitListed(target, cursor, budget);
                continue;
            }

            if (!(atOnce ? ReadUnread(budget) : ReadUnread(target, budget, long.MaxValue)))
            {
                return false;
            }

            if (cursor.HasListed)
            {
                if (budget.IsExhausted)
                {
                    return false;
                }

                VisitListed(target, cursor, budget, atOnce);
            }
            else if (cursor.Span == target.Spans.Count)
            {
                return true;
            }
            else if (budget.IsWalkExhausted)
            {
                return false;
            }
            else
            {
                long start = budget.WalkStart();
                if (!List(target, cursor))
                {
                    budget.SpendWalk(start);
                }
            }
        }
    }

    /// <summary>Reads the pages of all targets whose samples were not enough, and decides about them.</summary>
    /// <returns>True when none is left.</returns>
    public bool ReadUnread(WakeBudget budget)
    {
        // In slices: pages of one sample lie at about the same place of the lists of different targets, and once both
        // have been read there is something to carry out while the next ones are.
        long slice = Math.Max(PageBatch.PagesMax, UnreadPages / state.Targets.Count);
        // One at a time may call for others: a page that was written since may have another's sample by now.
        for (bool more = true; more;)
        {
            more = false;
            foreach (RegisteredTarget target in state.Targets)
            {
                if (target.Pages.Unread.IsEmpty)
                {
                    continue;
                }

                more = true;
                if (budget.IsExhausted)
                {
                    return false;
                }

                ReadUnread(target, budget, slice);
            }
        }

        return true;
    }

    private bool ReadUnread(RegisteredTarget target, WakeBudget budget, long most)
    {
        PageRunList list = target.Pages.Unread;
        for (long left = most; !list.IsEmpty && left > 0;)
        {
            if (budget.IsExhausted)
            {
                return false;
            }

            long pages = Math.Min(Math.Min(PageBatch.PagesMax, left), budget.VisitsLeft);
            left -= pages;
            while (batch.Count < pages && list.TryTake(out uint id))
            {
                // Something else may have happened to it, as to the pages of any other list.
                if (state.TargetOf(id) == target
                    && new PageWord(state.Pages[id]).State
                        is not (PageState.Planned or PageState.Merged or PageState.Zeroed)
                    && target.Covers(state.Pages.PageOf(id)))
                {
                    batch.Add(state.Pages.PageOf(id), id);
                }
            }

            // They were counted as scanned when they were sampled.
            budget.Spend(batch.Count);
            VisitBatch(target, atOnce: true);
        }

        if (list.IsEmpty)
        {
            list.Reset();
        }

        return list.IsEmpty;
    }

    /// <summary>Decides about pages that were listed in the pass before and not again in this one.</summary>
    /// <returns>True when none is left.</returns>
    public bool SettleWaiting(RegisteredTarget target, WakeBudget budget)
    {
        bool done = Settle(target, target.Pages.Waiting, budget, ofThisPassToo: false);
        matcher.ReadAll(target);
        return done;
    }

    /// <summary>Decides about all pages that wait for a second visit, whether it is time or not.</summary>
    public bool SettleAll(RegisteredTarget target, WakeBudget budget)
    {
        bool done = Settle(target, target.Pages.Waiting, budget, ofThisPassToo: true)
            && Settle(target, target.Pages.Fresh, budget, ofThisPassToo: true);
        matcher.ReadAll(target);
        return done;
    }

    /// <summary>Tries pages again that could not be merged.</summary>
    /// <param name="target">The target.</param>
    /// <param name="budget">What may be done.</param>
    /// <param name="round">Number of this round, from 1: a page that failed n times is tried every 2^n rounds. 0: tries
    /// all.</param>
    /// <param name="passingOnly">Only those whose reason is likely to have passed already.</param>
    public bool RetrySome(RegisteredTarget target, WakeBudget budget, long round, bool passingOnly)
    {
        PageRunList list = target.Pages.Retrying;
        while (!budget.IsExhausted && !list.IsEmpty)
        {
            for (long left = PagesBetweenLooks(budget); left > 0 && list.TryTake(out uint id);)
            {
                var word = new PageWord(state.Pages[id]);
                if (word.State != PageState.Unmergeable || state.TargetOf(id) != target)
                {
                    continue;
                }

                if (!IsDue(word, round, passingOnly))
                {
                    target.Pages.Retry.Add(id);
                    state.PagesSkipped += round > 0 ? 1 : 0;
                    continue;
                }

                left--;
                budget.Spend(1);
                state.PagesScanned++;
                matcher.ReadAgain(target, id, 0, word.Attempts);
            }
        }

        matcher.ReadAll(target);
        return list.IsEmpty;
    }

    private bool Settle(RegisteredTarget target, PageRunList list, WakeBudget budget, bool ofThisPassToo)
    {
        bool parity = target.Pages.Parity;
        while (!budget.IsExhausted && !list.IsEmpty)
        {
            for (long left = PagesBetweenLooks(budget); left > 0 && list.TryTake(out uint id);)
            {
                var word = new PageWord(state.Pages[id]);
                // Not fresh any more: something else happened to it. Of this pass: it was written again meanwhile, and
                // has its place in the other list. Of another target: the chunk was given back and taken again.
                bool waits = word.State == PageState.Fresh && (ofThisPassToo || word.Flag != parity)
                    && state.TargetOf(id) == target;
                if (waits)
                {
                    left--;
                    budget.Spend(1);
                    state.PagesScanned++;
                    matcher.Decide(target, id, word.Key, word.IsBroken);
                }
            }
        }

        return list.IsEmpty;
    }

    // Asking for CPU time is a system call.
    private static long PagesBetweenLooks(WakeBudget budget) => Math.Min(64, budget.VisitsLeft);

    private bool IsDue(PageWord word, long round, bool passingOnly)
    {
        if (word.Reason == NotMergedReason.MaxKernelPages)
        {
            return state.HasRoom;
        }

        bool passes = word.Reason
            is NotMergedReason.ContentChanged or NotMergedReason.TargetBusy or NotMergedReason.ThreadArea;
        return (passes || !passingOnly) && round % (1L << Math.Min(word.Attempts, AttemptsMax)) == 0;
    }

    /// <summary>Asks the machine for changed pages of the next window.</summary>
    /// <returns>True when there are some.</returns>
    private bool List(RegisteredTarget target, ScanCursor cursor)
    {

        PageRange span = target.Spans[cursor.Span];
        if (cursor.Page <= span.Start)
        {
            cursor.Page = span.Start;
            cursor.Window = WindowPages;
        }

        ulong page = cursor.Page;
        ulong end = span.End - page > cursor.Window ? page + cursor.Window : span.End;
        if (end - page > ShortWalkPages)
        {
            // A walk over page tables holds the lock that a stop window needs to change mappings: the target would
            // stand still for as long as the walk takes.
            state.UnderWay.CompleteIn(target);
        }

        int runs = target.Target.Scan(ref page, end, cursor.Room);
        Invariant.Check(page >= cursor.Page && page <= end && runs >= 0);
        bool stuck = page == cursor.Page && runs == 0;
        cursor.Page = stuck ? end : page;
        cursor.Listed(runs);
        cursor.Window = runs == 0 ? Math.Min(cursor.Window * 2, 1UL << 40) : WindowPages;
        if (cursor.Page >= span.End)
        {
            cursor.Span++;
            cursor.Page = 0;
        }

        return runs > 0;
    }

    private void VisitListed(RegisteredTarget target, ScanCursor cursor, WakeBudget budget, bool atOnce)
    {
        long pages = Math.Min(PageBatch.PagesMax, budget.VisitsLeft);
        while (batch.Count < pages && cursor.TryTake(out ulong page))
        {
            if (!cursor.SpansChanged || target.Covers(page))
            {
                batch.Add(page, target.Pages.IdOf(page));
            }
        }

        budget.Spend(batch.Count);
        state.PagesScanned += batch.Count;
        VisitBatch(target, atOnce);
    }

    private void VisitBatch(RegisteredTarget target, bool atOnce)
    {
        batch.Read(target.Target, state.Digester);
        state.Samples.WereRead(batch, _samples);
        TouchTrees(target.Pages.Domain);
        for (int i = 0; i < batch.Count; i++)
        {
            Visit(target, i, atOnce);
        }

        target.Notices.Flush();
        matcher.FlushWrites(target.Pages.Domain);
        batch.Clear();
    }

    // Where entries lie has nothing to do with where pages lie: asked for together, memory answers together.
    private void TouchTrees(MergeDomain domain)
    {
        for (int i = 0; i < batch.Count; i++)
        {
            _touched += state.Unstable.Touch(batch.KeyAt(i)) + domain.Stable.Touch(batch.KeyAt(i));
        }
    }

    private void Visit(RegisteredTarget target, int index, bool atOnce)
    {
        TargetPages pages = target.Pages;
        uint id = batch.IdAt(index);
        if (new PageWord(state.Pages[id]).State == PageState.Planned)
        {
            state.UnderWay.CompleteIn(target);
        }

        ref ulong word = ref state.Pages[id];
        var old = new PageWord(word);
        // A merged page is listed when a write has broken its sharing. It lies in a mapping of the store from now on,
        // until it is merged again or its region goes.
        bool broken = old.IsBroken || old.State == PageState.Merged;
        if (old.State is PageState.Merged or PageState.Zeroed)
        {
            target.Notices.Broken(state.Pages.FirstPage(id >> PageTable.ChunkShift) + (id & PageTable.OffsetMask));
        }

        if (old.State == PageState.Candidate && batch.WasRead(index) && old.Key == batch.KeyAt(index))
        {
            matcher.ReadTwin(_samples[index], id);
            return;
        }

        if (old.TreeKey != 0)
        {
            state.Unstable.Remove(old.TreeKey, id);
        }

        if (!batch.WasRead(index))
        {
            // Gone, most likely with its region, of which we shall hear; if not, it is tried again.
            pages.Fail(id, NotMergedReason.ContentChanged, 1, broken);
            return;
        }

        if (atOnce)
        {
            // Decided while the bytes are at hand: a page that becomes a store page is not read twice.
            pages.Leave(ref word, PageWord.Unknown(broken));
            matcher.DecideRead(target, index, broken, 0, _samples[index]);
            return;
        }

        matcher.ReadTwin(_samples[index], id);

        pages.Leave(ref word, PageWord.Fresh(batch.KeyAt(index), pages.Parity, broken));
        pages.Fresh.Add(id);
    }
}
