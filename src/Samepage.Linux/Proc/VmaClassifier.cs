using System.Runtime.InteropServices;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Proc;

/// <summary>What the classifier has to know besides /proc.</summary>
internal sealed record VmaRules
{
    /// <summary>The store of the target's domain; null as long as it has none.</summary>
    internal FileIdentity? Store { get; init; }

    /// <summary>Ranges this program mapped for itself in the target (control page, shadow, windows), sorted.</summary>
    internal IReadOnlyList<PageRange> Own { get; init; } = [];

    /// <summary>Ranges this program registered with its own userfaultfds, sorted and joined: there the userfaultfd
    /// flags are ours, anywhere else they are the application's.</summary>
    internal IReadOnlyList<PageRange> Tracked { get; init; } = [];
}

/// <summary>
/// Keeps a <see cref="VmaTable"/> of one process up to date. maps is read every time; smaps, which costs a walk
/// over all page tables, only when there is a mapping whose flags are not known. Flags are known for a mapping seen
/// before with the same bounds, and for a piece of one seen before if the pieces beside it are mappings of the store:
/// then it was our own merging that split it. Flags an application changes in place (mlock of a whole mapping)
/// are noticed only when forced.
/// </summary>
internal sealed class VmaClassifier(ProcReader proc)
{
    private readonly ProcBuffer _buffer = new();
    private VmaTable _table = new();
    private VmaTable _spare = new();
    private VmaRules _rules = new();

    /// <summary>As of the last refresh.</summary>
    internal VmaTable Table => _table;

    /// <summary>Times smaps was read, for tests and statistics.</summary>
    internal long SmapsReads { get; private set; }

    /// <summary>Brings <see cref="Table"/> up to date.</summary>
    /// <param name="rules">What else to know.</param>
    /// <param name="force">True: read smaps even when everything looks known.</param>
    /// <returns>True when the regions changed. When the process is gone nothing changes.</returns>
    internal bool Refresh(VmaRules rules, bool force)
    {
        bool known = !force && RulesAlike(rules, _rules);
        if (!known || proc.Read("maps", _buffer) != 0 || _buffer.Length == 0 || !TryFromMaps(rules))
        {
            SmapsReads++;
            if (proc.Read("smaps", _buffer) != 0 || _buffer.Length == 0)
            {
                return false;
            }

            FromSmaps(rules);
        }

        _rules = rules;
        bool changed = !CollectionsMarshal.AsSpan((List<PageRange>)_spare.Regions)
            .SequenceEqual(CollectionsMarshal.AsSpan((List<PageRange>)_table.Regions));
        (_table, _spare) = (_spare, _table);
        return changed;
    }

    /// <summary>Decides about one mapping from what smaps says.</summary>
    internal static VmaSegment Classify(in SmapsEntry entry, VmaRules rules)
    {
        VmaSegment segment = new()
        {
            Range = entry.Map.Pages,
            ResidentPages = entry.RssKiB / (PageSize.Bytes / 1024),
            File = entry.Map.File,
            IsShared = entry.Map.IsShared,
            Protection = entry.Map.Protection,
            Advice = Advice(entry.Flags),
        };
        if (IsWithin(rules.Own, segment.Range))
        {
            segment.Kind = SegmentKind.Own;
        }
        else if (IsStoreMapping(entry.Map, rules))
        {
            segment.Kind = SegmentKind.Merged;
            segment.Slot = (uint)(entry.Map.Offset >> PageSize.Shift);
        }
        else if (WhyNot(entry, rules) is { } reason)
        {
            segment.Kind = SegmentKind.NotMerged;
            segment.Reason = reason;
        }

        return segment;
    }

    private static bool IsStoreMapping(in MapsLine map, VmaRules rules) =>
        map.File.Inode != 0 && !map.IsShared && map.File == rules.Store;

    /// <summary>The first reason that applies; the order is from the most to the least telling.</summary>
    private static NotMergedReason? WhyNot(in SmapsEntry entry, VmaRules rules)
    {
        const VmFlags special = VmFlags.Io | VmFlags.PureFrames | VmFlags.MixedMap | VmFlags.DontExpand |
            VmFlags.ShadowStack | VmFlags.Architecture | VmFlags.Droppable;
        const VmFlags userfault = VmFlags.UserfaultMissing | VmFlags.UserfaultWrite | VmFlags.UserfaultMinor;
        VmFlags flags = entry.Flags;
        if ((flags & VmFlags.HugeTlb) != 0)
        {
            return NotMergedReason.HugePage;
        }

        if ((flags & special) != 0 || IsSpecialName(entry.Map.Name))
        {
            return NotMergedReason.Special;
        }

        if (entry.Map.IsShared || (flags & VmFlags.Shared) != 0)
        {
            return NotMergedReason.Shared;
        }

        if (entry.Map.File.Inode != 0 || entry.Map.Name.StartsWith((byte)'/'))
        {
            return NotMergedReason.FileBacked;
        }

        if ((flags & VmFlags.GrowsDown) != 0 || entry.Map.Name.StartsWith("[stack"u8))
        {
            return NotMergedReason.Stack;
        }

        if ((entry.Map.Protection & (VmaProtection.Read | VmaProtection.Write)) !=
            (VmaProtection.Read | VmaProtection.Write))
        {
            return NotMergedReason.NotWritable;
        }

        if ((flags & VmFlags.Locked) != 0)
        {
            return NotMergedReason.Mlocked;
        }

        // No flags line (a kernel without it) or a flag nobody here knows: it could mean anything, so hands off.
        return (flags & (VmFlags.WipeOnFork | VmFlags.Sealed | VmFlags.Unknown)) != 0 || flags == VmFlags.None ||
            entry.ProtectionKey != 0 || ((flags & userfault) != 0 && !IsWithin(rules.Tracked, entry.Map.Pages))
            ? NotMergedReason.Protected
            : null;
    }

    /// <summary>Bracketed names other than the heap's, the stack's and those an application gave to anonymous memory
    /// are the kernel's own mappings.</summary>
    private static bool IsSpecialName(ReadOnlySpan<byte> name) =>
        name.StartsWith((byte)'[') && !name.SequenceEqual("[heap]"u8) && !name.StartsWith("[anon:"u8) &&
        !name.StartsWith("[stack"u8);

    private static VmaAdvice Advice(VmFlags flags) =>
        ((flags & VmFlags.DontCopy) != 0 ? VmaAdvice.DontFork : 0) |
        ((flags & VmFlags.DontDump) != 0 ? VmaAdvice.DontDump : 0) |
        ((flags & VmFlags.HugePage) != 0 ? VmaAdvice.HugePage : 0) |
        ((flags & VmFlags.NoHugePage) != 0 ? VmaAdvice.NoHugePage : 0) |
        ((flags & VmFlags.Mergeable) != 0 ? VmaAdvice.Mergeable : 0) |
        ((flags & VmFlags.RandomRead) != 0 ? VmaAdvice.RandomRead : 0) |
        ((flags & VmFlags.SequentialRead) != 0 ? VmaAdvice.SequentialRead : 0) |
        ((flags & VmFlags.NoReserve) != 0 ? VmaAdvice.NoReserve : 0);

    private static bool IsWithin(IReadOnlyList<PageRange> ranges, PageRange pages)
    {
        int low = 0, high = ranges.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (ranges[middle].End <= pages.Start)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low < ranges.Count && ranges[low].Start <= pages.Start && pages.End <= ranges[low].End;
    }

    /// <summary>Decisions of before may be reused only as long as they rest on the same store and own mappings.
    /// Tracked ranges matter only to mappings that are decided anew.</summary>
    private static bool RulesAlike(VmaRules a, VmaRules b) =>
        a.Store == b.Store && (ReferenceEquals(a.Own, b.Own) || a.Own.SequenceEqual(b.Own));

    private void FromSmaps(VmaRules rules)
    {
        _spare.Clear();
        SmapsParser parser = new(_buffer.Text);
        while (parser.TryNext(out SmapsEntry entry))
        {
            _ = _spare.Add(Classify(entry, rules));
        }

        _spare.BuildRegions();
    }

    /// <summary>Builds the next table from maps and from what was known; false when smaps has to be read.</summary>
    private bool TryFromMaps(VmaRules rules)
    {
        _spare.Clear();
        MapsParser parser = new(_buffer.Text);
        int old = 0;
        PageRange store = default; // the last store mapping seen
        bool splitBefore = false;  // the mapping before began inside a known one: a store mapping has to follow it
        ulong splitAt = 0;
        while (parser.TryNext(out MapsLine map))
        {
            PageRange pages = map.Pages;
            bool isStore = IsStoreMapping(map, rules);
            if (splitBefore && !(isStore && pages.Start == splitAt))
            {
                return false;
            }

            ReadOnlySpan<VmaSegment> known = _table.Segments;
            while (old < known.Length && known[old].Range.End <= pages.Start)
            {
                old++;
            }

            if (!TryInherit(map, isStore, old, store, out VmaSegment segment, out splitBefore))
            {
                return false;
            }

            splitAt = pages.End;
            store = isStore ? pages : store;
            _ = _spare.Add(segment);
        }

        if (splitBefore)
        {
            return false;
        }

        _spare.BuildRegions();
        return true;
    }

    private bool TryInherit(
        in MapsLine map, bool isStore, int old, PageRange store, out VmaSegment segment, out bool splitAfter)
    {
        PageRange pages = map.Pages;
        segment = default;
        splitAfter = false;
        ReadOnlySpan<VmaSegment> known = _table.Segments;
        if (old == known.Length || known[old].Range.Start > pages.Start)
        {
            return false;
        }

        VmaSegment before = known[old];
        if (isStore)
        {
            // A store mapping takes the place of anonymous memory; the merge program carried its advice over.
            segment = before with
            {
                Range = pages,
                Kind = SegmentKind.Merged,
                File = map.File,
                Slot = (uint)(map.Offset >> PageSize.Shift),
                Protection = map.Protection,
            };
            return before.IsMergeable;
        }

        if (before.Protection != map.Protection || before.File != map.File || before.IsShared != map.IsShared)
        {
            return false;
        }

        if (before.Range == pages)
        {
            segment = before;
            return true;
        }

        bool startKnown = before.Range.Start == pages.Start || store.End == pages.Start;
        splitAfter = before.Range.End != pages.End;
        segment = before with { Range = pages, ResidentPages = 0 };
        return before.Kind == SegmentKind.Anonymous && startKnown && pages.End <= before.Range.End;
    }
}
