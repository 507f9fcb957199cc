namespace Samepage;

/// <summary>How sampling is done. Others than <see cref="Default"/> are for tests.</summary>
internal sealed record SamplingOptions
{
    public static readonly SamplingOptions Default = new();

    /// <summary>Listed pages from which on a sample is worth a stop of the target; 0: pages are never sampled.</summary>
    public int PagesMin { get; init; } = 512;

    /// <summary>False: a page is never merged by its sample, without having been read.</summary>
    public bool Presumes { get; init; } = true;

    /// <summary>False breaks the rule that everything rests on (<see cref="Samples"/>): a test has to notice.</summary>
    public bool MarksWhatWasRead { get; init; } = true;
}

/// <summary>
/// Which samples belong to pages that were read, or are going to be. Two equal pages are found although most pages are
/// never read, because of two rules:
/// <list type="number">
/// <item>When a page has been read in full, its sample is <em>contested</em> from then on, and a page that is
/// <see cref="PageState.Sampled"/> with the same sample is its <em>twin</em>: it is merged with it unread, or read
/// too (<see cref="Matcher.DecideTwin"/>).</item>
/// <item>No two pages are Sampled with the same sample: the second takes the place of the first, which is to be read, and
/// the sample is contested. A page whose sample is contested and that takes nobody's place is read
/// (<see cref="Sampler"/>).</item>
/// </list>
/// So as soon as one page of a sample has been read, none is Sampled with it: rule 1 sees to those that were, rule 2
/// to those that come. And as long as none has been read, all but the last that came are to be. Of two equal pages, then,
/// the first to be read finds the other Sampled, or to be read as well. From the moment both have been read everything is
/// as if there were no samples: each is decided about by its full digest, and whichever comes second finds the first, or the
/// store page it went to. It does not matter whose domains they are: samples of all domains are in one tree, so a page with
/// an equal one elsewhere is known to be. Store pages come from pages that were read, or are read when they are adopted.
/// <para>
/// A twin that is merged unread is <em>presumed</em> to be equal. Nothing rests on that: the machine compares bytes before
/// it replaces a page, and a page that turns out to be another is read then. But each such mistake costs a part of a stop, and
/// leaves a store page with one mapping, so it is done as long as it goes well (<see cref="Trust"/>). Where pages
/// look alike for a reason of their own (a guest's page tables) nearly all such guesses are wrong, except those that make
/// a run longer; so these are judged apart.
/// </para>
/// <para>
/// A sample may be out of date as a digest may: then the page has been written since it was listed, so the machine lists
/// it again. The set of contested samples may take a stranger for a member, which costs a read; it never forgets one. It
/// may cost 3/4 of a byte for each registered page and twice that for each store page; if more samples than that allows are contested,
/// most pages have to be read anyway, and sampling is off until contents are forgotten (run=2, or no target
/// left). Pages that are Sampled by then stay so, and rule 1 goes on to hold for them.
/// </para>
/// </summary>
internal sealed class Samples
{
    private const long BytesMin = 64 << 10;
    private const long StoreReadMax = 16384;

    private readonly EngineState _state;
    private readonly PageSampler _sampler;
    private readonly SamplingOptions _options;
    private readonly ContestedSamples _contested = new();
    private readonly byte[] _page = new byte[PageSize.Bytes];
    private readonly Trust _runs = new(openMin: 2048);
    private readonly Trust _loners = new(openMin: 512);

    public Samples(EngineState state, PageSampler sampler, SamplingOptions options)
    {
        _state = state;
        _sampler = sampler;
        _options = options;
        ContestZero();
    }

    /// <summary>How samples are made.</summary>
    public PageSampler Function => _sampler;

    public SamplingOptions Options => _options;

    /// <summary>False while pages are to be read without a look at their samples.</summary>
    public bool IsOn => _options.PagesMin > 0 && !_contested.IsOverflown;

    public long Bytes => _contested.Bytes;

    // Each store page has a sample, which takes ten bits: with the last target gone they may be all there is.
    private long BytesMax => Math.Max(
        BytesMin,
        (_state.Targets.Sum(target => target.RegisteredPages) * 3 / 4)
        + (_state.Domains.Sum(domain => domain.Slots.Stored) * 3 / 2));

    /// <summary>The tree key of a sample.</summary>
    public static ulong KeyOf(ulong sample) => (sample & PageKey.Mask) | PageKey.OfSample;

    /// <summary>True when a page that was read had this sample, and now and then when none had.</summary>
    public bool IsContested(ulong key) => _contested.MayHave(key);

    /// <summary>A page with this sample is to be read.</summary>
    public void Contest(ulong key)
    {
        if (_options.MarksWhatWasRead && !_contested.TryAdd(key))
        {
            _contested.Grow(BytesMax);
            _contested.TryAdd(key);
        }
    }

    /// <summary>A merge begins: what was presumed before is forgotten.</summary>
    public void Begin()
    {
        _runs.Reset();
        _loners.Reset();
    }

    /// <summary>True when a page may be merged by its sample.</summary>
    /// <param name="lone">The page before it does not go to the slot before.</param>
    public bool MayPresume(bool lone) => _options.Presumes && _runs.Allows && (!lone || _loners.Allows);

    /// <summary>A page is to be merged by its sample.</summary>
    public void Presume(bool lone) => (lone ? _loners : _runs).Guess();

    /// <summary>A page that was planned has been merged, or has not.</summary>
    public void TurnedOut(PageWord planned, bool merged)
    {
        if (planned.Flag)
        {
            (planned.IsLone ? _loners : _runs).TurnedOut(merged);
            _state.SecondGuesses += merged ? 0 : 1;
        }
    }

    /// <summary>The pages of a batch have been read.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="keys">Gets the tree keys of their samples, whose twins the caller has to look for; 0 where there can
    /// be none.</param>
    public void WereRead(PageBatch batch, Span<ulong> keys)
    {
        bool any = _options.PagesMin > 0 && (IsOn || IsAnySampled());
        for (int i = 0; i < batch.Count; i++)
        {
            keys[i] = any && batch.WasRead(i) ? KeyOf(_sampler.Sample(batch.Bytes(i, 1))) : 0;
            if (keys[i] != 0)
            {
                Contest(keys[i]);
            }
        }
    }

    /// <summary>The content of a store page has been read.</summary>
    public void WasRead(ReadOnlySpan<byte> page)
    {
        ulong key = KeyOf(_sampler.Sample(page));
        Contest(key);
        if (TryFindTwin(key, uint.MaxValue, out uint twin))
        {
            Read(twin);
        }
    }

    /// <summary>The page that is Sampled with that key, if it is another than <paramref name="id"/>.</summary>
    public bool TryFindTwin(ulong key, uint id, out uint twin)
    {
        twin = 0;
        Span<uint> sampled = stackalloc uint[1];
        if (!_options.MarksWhatWasRead || key == 0 || _state.Unstable.Find(key, sampled) == 0 || sampled[0] == id)
        {
            return false;
        }

        twin = sampled[0];
        return true;
    }

    /// <summary>Another page needs to know what a Sampled one holds: that one is to be read.</summary>
    public void Read(uint id)
    {
        if (_state.TargetOf(id) is { } owner)
        {
            ref ulong word = ref _state.Pages[id];
            var old = new PageWord(word);
            _state.Unstable.Remove(old.TreeKey, id);
            owner.Pages.Change(ref word, PageWord.Unknown(old.IsBroken));
            owner.Pages.Unread.Add(id);
        }
    }

    /// <summary>
    /// Contents are forgotten: nothing is contested but the page of zeros and what the stores still hold, which a page
    /// may yet join. If they hold much, reading it all would take too long; then a lone page does not join what is left
    /// over there, but any two equal ones do.
    /// </summary>
    public void Forget()
    {
        _contested.Clear();
        ContestZero();
        if (_state.Domains.Sum(domain => domain.Slots.Stored) > StoreReadMax)
        {
            return;
        }

        foreach (MergeDomain domain in _state.Domains)
        {
            for (uint slot = 0; slot < domain.Slots.End; slot++)
            {
                if (domain.Slots.KeyOf(slot) is not (0 or PageKey.ContentUnknown) && !domain.IsUnwritten(slot))
                {
                    domain.Store.Read(slot, _page);
                    Contest(KeyOf(_sampler.Sample(_page)));
                }
            }
        }
    }

    // A page of zeros is taken away when it is met, which needs no partner.
    private void ContestZero()
    {
        _page.AsSpan().Clear();
        _contested.Grow(BytesMin);
        _contested.TryAdd(KeyOf(_sampler.Sample(_page)));
    }

    private bool IsAnySampled()
    {
        foreach (RegisteredTarget target in _state.Targets)
        {
            if (target.Pages.CountOf(PageState.Sampled) > 0)
            {
                return true;
            }
        }

        return false;
    }
}
