namespace Samepage;

/// <summary>What the parts of one engine share: the page words, the unstable tree, the domains, the targets.</summary>
internal sealed class EngineState
{
    // A tree that needs more than this is made anew: it lost most of its entries. Twice what a tree needs at worst.
    private const long BytesPerEntryMax = 16;
    private const long SpareBytes = 256 << 10;
    private const int TrimAfterPasses = 16;

    private const long RoomMadeMin = 4096;

    // An index is made with its places two thirds full; here it is known how many come, so it may be a little fuller.
    private const double FillFactor = 0.82;

    private RegisteredTarget?[] _byIndex = [];
    private int _mappingsMax;
    private int _passesTooLarge;

    public EngineState(IMachine machine, Knobs knobs, ulong seed, SamplingOptions sampling)
    {
        Machine = machine;
        Knobs = knobs;
        _mappingsMax = knobs.MappingsMax;
        Digester = PageDigester.Create(seed);
        ZeroKey = PageKey.Of(Digester.Digest(new byte[PageSize.Bytes]));
        Unstable = new DigestIndex(Pages, 0);
        Samples = new Samples(this, PageSampler.Create(seed), sampling);
    }

    public IMachine Machine { get; }

    public Knobs Knobs { get; }

    public PageDigester Digester { get; }

    /// <summary>Key of the all-zero page.</summary>
    public ulong ZeroKey { get; }

    public PageTable Pages { get; } = new();

    /// <summary>
    /// The unstable tree: candidates of all domains by key. KSM throws its tree away after each pass because
    /// the pages in it may have changed; here an entry dies by itself, when the scan that hears of a write gives the
    /// page another word.
    /// </summary>
    public DigestIndex Unstable { get; private set; }

    /// <summary>Which samples belong to pages that were read.</summary>
    public Samples Samples { get; }

    public List<MergeDomain> Domains { get; } = [];

    public List<RegisteredTarget> Targets { get; } = [];

    /// <summary>Plans that are being carried out.</summary>
    public UnderWay UnderWay { get; } = new();

    public long PagesScanned { get; set; }

    public long FullScans { get; set; }

    /// <summary>Tries that smart_scan saved: pages that failed to merge and were not tried again in a pass.</summary>
    public long PagesSkipped { get; set; }

    /// <summary>Pages that are to be tried again as the other kind of plan, ever.</summary>
    public long SecondGuesses { get; set; }

    /// <summary>True while a new store page may be made.</summary>
    public bool HasRoom
    {
        get
        {
            if (Knobs.MaxKernelPages == 0)
            {
                return true;
            }

            long stored = 0;
            foreach (MergeDomain domain in Domains)
            {
                stored += domain.Slots.Stored;
            }

            return (ulong)stored < Knobs.MaxKernelPages;
        }
    }

    public long MetadataBytes
    {
        get
        {
            long bytes = Pages.Bytes + Unstable.Bytes + Samples.Bytes + (_byIndex.Length * 8L);
            foreach (MergeDomain domain in Domains)
            {
                bytes += domain.Bytes;
            }

            foreach (RegisteredTarget target in Targets)
            {
                bytes += target.MetadataBytes;
            }

            return bytes;
        }
    }

    public MergeDomain OpenDomain(string name)
    {
        foreach (MergeDomain domain in Domains)
        {
            if (domain.Name == name)
            {
                return domain;
            }
        }

        var opened = new MergeDomain(name, Domains.Count, Machine.OpenStore(name));
        Domains.Add(opened);
        return opened;
    }

    /// <summary>The target a page id belongs to; null when its chunk is not in use any more.</summary>
    public RegisteredTarget? TargetOf(uint id)
    {
        int index = Pages.TargetOf(id);
        return index < 0 ? null : _byIndex[index];
    }

    public int FreeIndex()
    {
        int index = Array.IndexOf(_byIndex, null);
        if (index < 0)
        {
            index = _byIndex.Length;
            Array.Resize(ref _byIndex, Math.Max(8, index * 2));
        }

        return index;
    }

    public void Add(RegisteredTarget target)
    {
        _byIndex[target.Pages.Index] = target;
        Targets.Add(target);
    }

    public void Remove(RegisteredTarget target)
    {
        _byIndex[target.Pages.Index] = null;
        Targets.Remove(target);
    }

    /// <summary>Obeys a max_page_sharing that was changed since the last call.</summary>
    public void ObeyMappingsMax()
    {
        if (_mappingsMax == Knobs.MappingsMax)
        {
            return;
        }

        foreach (MergeDomain domain in Domains)
        {
            domain.Reindex(_mappingsMax, Knobs.MappingsMax);
        }

        _mappingsMax = Knobs.MappingsMax;
    }

    /// <summary>No page is a candidate, and of none the sample is known any more.</summary>
    public void ClearUnstable()
    {
        Unstable = new DigestIndex(Pages, 0);
        Samples.Forget();
        _passesTooLarge = 0;
    }

    /// <summary>
    /// That many pages are about to enter the unstable tree. If they are many, it is made anew with room for them: growing by
    /// itself it would move each entry some four times.
    /// </summary>
    public void MakeRoom(long more)
    {
        if (more >= RoomMadeMin && more > Unshared / 4 && Unshared + more > Unstable.Room)
        {
            MakeUnstable(more);
        }
    }

    /// <summary>True when that many pages are most of the unstable tree's, and not just a few.</summary>
    public bool MostAre(long pages) => pages >= RoomMadeMin && pages > Unshared / 3;

    /// <summary>Makes the unstable tree anew, out of the pages that are in it by their words.</summary>
    /// <param name="more">How many pages are to come.</param>
    public void MakeUnstable(long more)
    {
        Unstable = new DigestIndex(Pages, (long)((Unshared + more) * FillFactor));
        AddUnshared();
    }

    private long Unshared
    {
        get
        {
            long pages = 0;
            foreach (RegisteredTarget target in Targets)
            {
                pages += target.Pages.Unshared;
            }

            return pages;
        }
    }

    /// <summary>Makes the unstable tree anew when it is far too large for what is in it.</summary>
    /// <param name="atOnce">False: at the end of a pass. Only if it has been so for a while: pages that change
    /// leave the tree and come back.</param>
    public void TrimUnstable(bool atOnce)
    {
        long live = Unshared;
        bool tooLarge = Unstable.Bytes > (live * BytesPerEntryMax) + SpareBytes;
        _passesTooLarge = tooLarge ? _passesTooLarge + 1 : 0;
        if (!tooLarge || (!atOnce && _passesTooLarge < TrimAfterPasses))
        {
            return;
        }

        _passesTooLarge = 0;
        Unstable = new DigestIndex(Pages, live);
        AddUnshared();
    }

    private void AddUnshared()
    {
        foreach (RegisteredTarget target in Targets)
        {
            foreach (uint chunk in target.Pages.SortedChunks())
            {
                AddCandidates(chunk);
            }
        }
    }

    private void AddCandidates(uint chunk)
    {
        ReadOnlySpan<ulong> words = Pages.Words(chunk);
        for (int i = 0; i < words.Length; i++)
        {
            ulong key = new PageWord(words[i]).TreeKey;
            if (key != 0)
            {
                Unstable.Add(key, (chunk << PageTable.ChunkShift) + (uint)i);
            }
        }
    }
}
