namespace Samepage;

/// <summary>
/// Contents that have more than one mapped store page in a domain, because the first has all the mappings it may have
/// (max_page_sharing) or because a repeated page was laid out in a row. KSM chains such stable nodes and counts chains
/// (stable_node_chains) and their members (stable_node_dups); here only the counts are needed: each member is found by
/// the stable tree or is full.
/// </summary>
internal sealed class StableChains
{
    // Members by key, for keys with at least two.
    private readonly Dictionary<ulong, int> _members = [];

    // Store pages with all their mappings, by key: the stable tree does not find these.
    private readonly Dictionary<ulong, int> _full = [];

    /// <summary>Contents with more than one store page.</summary>
    public long Chains => _members.Count;

    /// <summary>Store pages of those contents.</summary>
    public long Members { get; private set; }

    // An entry of a dictionary is 24 bytes and a bucket of 4.
    public long Bytes => (_members.Capacity + _full.Capacity) * 28L;

    /// <summary>True when a full store page has this key.</summary>
    public bool HasFull(ulong key) => _full.ContainsKey(key);

    /// <summary>A store page with this key gets its first mapping.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="mappedInTree">Other store pages with this key and a mapping that the stable tree finds.</param>
    public void Mapped(ulong key, int mappedInTree)
    {
        int others = mappedInTree + _full.GetValueOrDefault(key);
        if (_members.TryGetValue(key, out int count))
        {
            _members[key] = count + 1;
            Members++;
        }
        else if (others > 0)
        {
            _members[key] = others + 1;
            Members += others + 1;
        }
    }

    /// <summary>A store page with this key has lost its last mapping.</summary>
    public void Unmapped(ulong key)
    {
        if (!_members.TryGetValue(key, out int count))
        {
            return;
        }

        Members--;
        _members[key] = count - 1;
        if (count == 2)
        {
            Members--;
            _members.Remove(key);
        }
    }

    /// <summary>A store page leaves the stable tree because it is full.</summary>
    public void Filled(ulong key) => _full[key] = _full.GetValueOrDefault(key) + 1;

    /// <summary>It comes back into the tree.</summary>
    public void Reopened(ulong key)
    {
        if (_full.TryGetValue(key, out int count) && count > 1)
        {
            _full[key] = count - 1;
        }
        else
        {
            _full.Remove(key);
        }
    }

    /// <summary>The tree is made anew: who is full is told again.</summary>
    public void ClearFull() => _full.Clear();
}
