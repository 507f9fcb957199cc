namespace Samepage.Simulation;

/// <summary>Where pages go that are pushed out. A place can be shared after fork, so it is counted.</summary>
internal sealed class Swap
{
    private readonly List<PageContent> _contents = [];
    private readonly List<int> _counts = [];
    private readonly Stack<uint> _free = [];

    /// <summary>Places in use.</summary>
    public int Used => _contents.Count - _free.Count;

    public uint Put(PageContent content)
    {
        if (!_free.TryPop(out uint place))
        {
            place = (uint)_contents.Count;
            _contents.Add(default);
            _counts.Add(0);
        }

        _contents[(int)place] = content;
        _counts[(int)place] = 1;
        return place;
    }

    public PageContent Get(uint place) => _contents[(int)place];

    public void Share(uint place) => _counts[(int)place]++;

    public void Drop(uint place)
    {
        if (--_counts[(int)place] == 0)
        {
            _free.Push(place);
        }
    }
}
