namespace Samepage;

/// <summary>
/// Contents that have more than one store page in a domain, because the first has all the mappings it may have
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

    public bool IsChained(ulong key) => _members.ContainsKey(key);

    /// <summary>A store page with this key is about to be added.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="isInTree">The stable tree has another one.</param>
    public void Adding(ulong key, bool isInTree)
    {
        if (_members.TryGetValue(key, out int count))
        {
            _members[key] = count + 1;
            Members++;
        }
        else if (isInTree || _full.ContainsKey(key))
        {
            int others = (isInTree ? 1 : 0) + _full.GetValueOrDefault(key);
            _members[key] = others + 1;
            Members += others + 1;
        }
    }

    /// <summary>A store page with this key is no more.</summary>
    public void Removed(ulong key)
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
