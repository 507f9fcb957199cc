namespace Samepage;

/// <summary>How sampling is done. Others than <see cref="Default"/> are for tests.</summary>
internal sealed record SamplingOptions
{
    public static readonly SamplingOptions Default = new();

    /// <summary>Listed pages from which on a sample is worth a stop of the target; 0: pages are never sampled.</summary>
    public int PagesMin { get; init; } = 512;

    /// <summary>False breaks the rule that everything rests on (<see cref="Samples"/>): a test has to notice.</summary>
    public bool MarksWhatWasRead { get; init; } = true;
}

/// <summary>
/// Which samples belong to pages that were read. Two equal pages are found although most pages are never read, because
/// of two rules:
/// <list type="number">
/// <item>Whenever a page has been read in full, its sample is <em>contested</em> from then on, and a page that
/// is <see cref="PageState.Sampled"/> with the same sample is to be read too (<see cref="WereRead"/>).</item>
/// <item>A page gets the state Sampled only if its sample is neither contested nor that of another Sampled page. If it
/// is, the page is read, and so is that other one (<see cref="Sampler"/>).</item>
/// </list>
/// So of two equal pages A and B, of which A was looked at first, both have been read in full after B was looked at: if A
/// had been read, the sample was contested, and B was read by rule 2; if A was Sampled and B is sampled, rule 2
/// reads both; if A was Sampled and B is read (by a background pass, or because it failed to merge before),
/// rule 1 reads A. From the moment both have been read everything is as if there were no samples: each
/// is decided about by its full digest, and whichever comes second finds the first, or the store page it went to. It does not
/// matter whose domains they are: samples of all domains are in one tree, so a page with an equal one elsewhere is known to be.
/// Store pages come from pages that were read, or are read when they are adopted.
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

    /// <summary>The pages of a batch have been read.</summary>
    public void WereRead(PageBatch batch)
    {
        if (_options.PagesMin == 0 || !(IsOn || IsAnySampled()))
        {
            return;
        }

        for (int i = 0; i < batch.Count; i++)
        {
            if (batch.WasRead(i))
            {
                WasRead(KeyOf(_sampler.Sample(batch.Bytes(i, 1))), batch.IdAt(i));
            }
        }
    }

    /// <summary>The content of a store page has been read.</summary>
    public void WasRead(ReadOnlySpan<byte> page) => WasRead(KeyOf(_sampler.Sample(page)), uint.MaxValue);

    /// <summary>Another page needs to know what a Sampled one holds: that one is to be read.</summary>
    public void Read(uint id)
    {
        if (_state.TargetOf(id) is { } owner)
        {
            ref ulong word = ref _state.Pages[id];
            owner.Pages.Change(ref word, PageWord.Unknown(new PageWord(word).IsBroken));
            owner.Pages.Unread.Add(id);
        }
    }

    /// <summary>Whoever else is Sampled with that key is to be read.</summary>
    public void ReadSampled(ulong key, uint id)
    {
        Span<uint> sampled = stackalloc uint[4];
        foreach (uint other in sampled[.._state.Unstable.Find(key, sampled)])
        {
            if (other != id)
            {
                Read(other);
            }
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

    private void WasRead(ulong key, uint id)
    {
        Contest(key);
        if (_options.MarksWhatWasRead)
        {
            ReadSampled(key, id);
        }
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
