using System.Runtime.CompilerServices;

namespace Samepage;

/// <summary>
/// Takes listed pages of a synchronous merge in large pieces, has them sampled where they are, and sorts them: pages whose
/// samples nobody else has need not be read. Why no pair of equal pages is missed: <see cref="Samples"/>.
/// </summary>
internal sealed class Sampler(EngineState state)
{
    /// <summary>Pages of one piece: what the live machine samples in one stop of about half a millisecond.</summary>
    public const int PiecePages = 16384;

    private const int RangesMax = 256;

    private const int TouchedAhead = 16;

    private readonly List<PageRange> _ranges = new(RangesMax);
    private ulong[] _samples = [];
    private uint _touched;

    /// <summary>False when what is listed is to be read: because it is little, or sampling is off.</summary>
    public bool IsWorthIt(ScanCursor cursor)
    {
        ulong worthIt = (ulong)state.Samples.Options.PagesMin;
        return state.Samples.IsOn && !cursor.SpansChanged && cursor.CountListed(worthIt) >= worthIt;
    }

    /// <summary>Samples the next piece of what is listed.</summary>
    public void VisitListed(RegisteredTarget target, ScanCursor cursor, WakeBudget budget)
    {
        // Pages that are planned are about to be looked at, and the machine can do only one thing in a target.
        state.UnderWay.CompleteIn(target);
        if (_samples.Length == 0)
        {
            _samples = GC.AllocateUninitializedArray<ulong>(PiecePages);
        }

        if (cursor.IsNew)
        {
            cursor.IsNew = false;
            MakeRoom(target.Pages, cursor.Runs);
        }

        int taken = TakePiece(target, cursor, out int toSample);
        budget.Spend(taken);
        state.PagesScanned += taken;
        int sampled = toSample == 0 ? 0 : target.Target.Sample(
            System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_ranges), state.Samples.Function,
            _samples.AsSpan(0, toSample));
        Invariant.Check(sampled >= 0 && sampled <= toSample);
        _samples.AsSpan(sampled, toSample - sampled).Clear();
        Sort(target);
        target.Notices.Flush();
    }

    /// <summary>Nothing is sampled for a while: the buffer is given back.</summary>
    public void Rest() => _samples = [];

    /// <summary>
    /// Makes room in the tree for what is listed. Where most of the tree's pages are listed again, written, they leave
    /// it all at once, which costs less than one by one.
    /// </summary>
    private void MakeRoom(TargetPages pages, ReadOnlySpan<PageRange> runs)
    {
        long listed = 0;
        long inTree = 0;
        foreach (PageRange run in runs)
        {
            listed += (long)run.Count;
            inTree += CountInTree(pages, run, leave: false);
        }

        if (!state.MostAre(inTree))
        {
            state.MakeRoom(listed - inTree);
            return;
        }

        foreach (PageRange run in runs)
        {
            CountInTree(pages, run, leave: true);
        }

        state.MakeUnstable(listed);
    }

    private long CountInTree(TargetPages pages, PageRange run, bool leave)
    {
        long count = 0;
        for (ulong page = run.Start; page < run.End;)
        {
            ulong end = Math.Min(run.End, (page | PageTable.OffsetMask) + 1);
            if (pages.TryFindChunk(page, out _))
            {
                foreach (ref ulong word in WordsOf(pages.IdOf(page), (int)(end - page)))
                {
                    var known = new PageWord(word);
                    if (known.TreeKey != 0)
                    {
                        count++;
                        if (leave)
                        {
                            pages.Change(ref word, PageWord.Unknown(known.IsBroken));
                        }
                    }
                }
            }

            page = end;
        }

        return count;
    }

    /// <summary>Takes a piece out of what is listed.</summary>
    /// <returns>Pages taken, those too that are not to be sampled.</returns>
    private int TakePiece(RegisteredTarget target, ScanCursor cursor, out int toSample)
    {
        _ranges.Clear();
        int taken = 0;
        toSample = 0;
        while (taken < PiecePages && cursor.HasListed)
        {
            PageRange run = cursor.TakeRun((ulong)(PiecePages - taken), PageTable.ChunkPages);
            taken += (int)run.Count;
            uint id = target.Pages.IdOf(run.Start);
            Span<ulong> words = WordsOf(id, (int)run.Count);
            if (!words.ContainsAnyExcept(0UL))
            {
                toSample += Add(target, run);
                continue;
            }

            for (int i = 0; i < words.Length; i++)
            {
                if (!IsToBeRead(target, run.Start + (uint)i, id + (uint)i, ref words[i]))
                {
                    toSample += Add(target, new PageRange(run.Start + (uint)i, run.Start + (uint)i + 1));
                }
            }
        }

        return taken;
    }

    /// <summary>
    /// A page in a mapping of the store is read and not sampled: if it has been dropped meanwhile, whoever touches it inside
    /// the target waits for the keeper.
    /// </summary>
    private static bool IsToBeRead(RegisteredTarget target, ulong page, uint id, ref ulong word)
    {
        var old = new PageWord(word);
        if (old.State is PageState.Merged or PageState.Zeroed)
        {
            target.Notices.Broken(page);
        }

        bool inStore = old.IsBroken || old.State == PageState.Merged;
        if (old.State is PageState.Merged or PageState.Planned or PageState.Zeroed)
        {
            target.Pages.Leave(ref word, PageWord.Unknown(inStore));
        }

        if (inStore)
        {
            target.Pages.Unread.Add(id);
        }

        return inStore;
    }

    /// <summary>Adds pages to what is to be sampled; those for which there is no range left are to be read.</summary>
    /// <returns>Pages added.</returns>
    private int Add(RegisteredTarget target, PageRange pages)
    {
        if (_ranges.Count > 0 && _ranges[^1].End == pages.Start)
        {
            _ranges[^1] = _ranges[^1] with { End = pages.End };
        }
        else if (_ranges.Count < RangesMax)
        {
            _ranges.Add(pages);
        }
        else
        {
            uint id = target.Pages.IdOf(pages.Start);
            for (uint i = 0; i < (uint)pages.Count; i++)
            {
                target.Pages.Unread.Add(id + i);
            }

            return 0;
        }

        return (int)pages.Count;
    }

    private void Sort(RegisteredTarget target)
    {
        int done = 0;
        foreach (PageRange range in _ranges)
        {
            for (ulong page = range.Start; page < range.End;)
            {
                ulong end = Math.Min(range.End, (page | PageTable.OffsetMask) + 1);
                int count = (int)(end - page);
                Sort(target.Pages, target.Pages.IdOf(page), _samples.AsSpan(done, count));
                done += count;
                page = end;
            }
        }
    }

    // Compiled when it is first used: compiled beforehand, nothing of the framework's is inlined.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Sort(TargetPages pages, uint first, ReadOnlySpan<ulong> samples)
    {
        Samples known = state.Samples;
        DigestIndex tree = state.Unstable;
        Span<ulong> words = WordsOf(first, samples.Length);
        int fresh = 0;
        for (int i = 0; i < samples.Length; i++)
        {
            if (i % TouchedAhead == 0)
            {
                Touch(tree, words[i..], samples[i..]);
            }

            uint id = first + (uint)i;
            ulong key = Samples.KeyOf(samples[i]);
            if (words[i] != 0 && Leave(pages, tree, ref words[i], id, key))
            {
                continue;
            }

            if (samples[i] == 0)
            {
                pages.Unread.Add(id);
            }
            else if (known.IsContested(key) && !known.TryFindTwin(key, id, out _))
            {
                pages.Unread.Add(id);
            }
            else
            {
                // Of two pages with one sample the second stays Sampled and the first is read: that is the order in which
                // pages lie, so what is read makes long runs.
                if (!tree.TryAddFirst(key, id, out uint other))
                {
                    known.Contest(key);
                    known.Read(other);
                    tree.TryAddFirst(key, id, out _);
                }

                words[i] = PageWord.Sampled(key, false).Bits;
                fresh++;
            }
        }

        pages.CountSampled(fresh);
    }

    // Where entries lie has nothing to do with where pages lie: without this each page would wait for memory twice.
    private void Touch(DigestIndex tree, ReadOnlySpan<ulong> words, ReadOnlySpan<ulong> samples)
    {
        for (int i = 0; i < samples.Length && i < TouchedAhead; i++)
        {
            _touched += tree.Touch(Samples.KeyOf(samples[i]));
            ulong old = new PageWord(words[i]).TreeKey;
            if (old != 0)
            {
                _touched += tree.Touch(old);
            }
        }
    }

    /// <summary>Takes a page that is known out of what it was. None of them lies in a mapping of the store.</summary>
    /// <returns>True when it is to stay what it is.</returns>
    private static bool Leave(TargetPages pages, DigestIndex tree, ref ulong word, uint id, ulong key)
    {
        ulong old = new PageWord(word).TreeKey;
        if (old == key)
        {
            return true;
        }

        if (old != 0)
        {
            tree.Remove(old, id);
        }

        pages.Change(ref word, PageWord.Unknown(false));
        return false;
    }

    private Span<ulong> WordsOf(uint id, int count) =>
        state.Pages.Words(id >> PageTable.ChunkShift).Slice((int)(id & PageTable.OffsetMask), count);
}
