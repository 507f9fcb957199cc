namespace Samepage.Linux.Proc;

/// <summary>The two-letter flags of smaps' VmFlags line (proc_pid_smaps(5), show_smap_vma_flags in the
/// kernel).</summary>
[Flags]
internal enum VmFlags : ulong
{
    None = 0,
    Shared = 1 << 0,            // sh
    GrowsDown = 1 << 1,         // gd
    PureFrames = 1 << 2,        // pf: page frame numbers without struct page
    Locked = 1 << 3,            // lo, lf
    Io = 1 << 4,                // io
    SequentialRead = 1 << 5,    // sr
    RandomRead = 1 << 6,        // rr
    DontCopy = 1 << 7,          // dc: MADV_DONTFORK
    DontExpand = 1 << 8,        // de
    Accounted = 1 << 9,         // ac
    NoReserve = 1 << 10,        // nr
    HugeTlb = 1 << 11,          // ht
    Architecture = 1 << 12,     // ar
    WipeOnFork = 1 << 13,       // wf
    DontDump = 1 << 14,         // dd
    MixedMap = 1 << 15,         // mm
    HugePage = 1 << 16,         // hg
    NoHugePage = 1 << 17,       // nh
    Mergeable = 1 << 18,        // mg
    UserfaultMissing = 1 << 19, // um
    UserfaultWrite = 1 << 20,   // uw
    UserfaultMinor = 1 << 21,   // ui
    ShadowStack = 1 << 22,      // ss
    Sealed = 1 << 23,           // sl: mseal
    Droppable = 1 << 24,        // dp
    Plain = 1 << 25,            // flags without a meaning for merging (rd wr ex mr mw me ms sd sf gu mt)
    Unknown = 1 << 26,          // a flag this program has never heard of
}

/// <summary>What smaps says about one mapping.</summary>
internal ref struct SmapsEntry
{
    /// <summary>The header line, as in maps.</summary>
    internal MapsLine Map;

    /// <summary>Resident memory in KiB, huge pages included.</summary>
    internal ulong RssKiB;

    /// <summary>Resident anonymous memory in KiB.</summary>
    internal ulong AnonymousKiB;

    /// <summary>Swapped memory in KiB.</summary>
    internal ulong SwapKiB;

    /// <summary>Memory protection key; 0 also where the CPU has none.</summary>
    internal ulong ProtectionKey;

    /// <summary>Flags; <see cref="VmFlags.None"/> means that the line was missing.</summary>
    internal VmFlags Flags;
}

/// <summary>Goes through the text of /proc/PID/smaps.</summary>
internal ref struct SmapsParser(ReadOnlySpan<byte> text)
{
    private ReadOnlySpan<byte> _rest = text;

    /// <summary>The next mapping.</summary>
    internal bool TryNext(out SmapsEntry entry)
    {
        entry = default;
        bool found = false;
        while (!found && ProcText.TryNextLine(ref _rest, out ReadOnlySpan<byte> line))
        {
            found = MapsLine.TryParse(line, out entry.Map);
        }

        while (found)
        {
            ReadOnlySpan<byte> ahead = _rest;
            if (!ProcText.TryNextLine(ref ahead, out ReadOnlySpan<byte> line) || !TryAttribute(line, ref entry))
            {
                return true;
            }

            _rest = ahead;
        }

        return false;
    }

    /// <summary>Parses the letters after <c>VmFlags:</c>.</summary>
    internal static VmFlags ParseFlags(ReadOnlySpan<byte> text)
    {
        VmFlags flags = VmFlags.None;
        ReadOnlySpan<byte> rest = text;
        while (!rest.IsEmpty)
        {
            ReadOnlySpan<byte> word = ProcText.NextField(ref rest, (byte)' ');
            if (!word.IsEmpty)
            {
                flags |= word.Length == 2 ? ParseFlag(word[0], word[1]) : VmFlags.Unknown;
            }
        }

        return flags;
    }

    /// <summary>False when the line is no attribute, that is, when it may be the next mapping's header.</summary>
    private static bool TryAttribute(scoped ReadOnlySpan<byte> line, ref SmapsEntry entry)
    {
        // Attribute names begin with a capital letter, header lines with a lower-case hexadecimal digit.
        if (line.IsEmpty || line[0] is < (byte)'A' or > (byte)'Z')
        {
            return line.IsEmpty || !MapsLine.TryParse(line, out _);
        }

        if (line.StartsWith("VmFlags:"u8))
        {
            entry.Flags = ParseFlags(line["VmFlags:"u8.Length..]);
        }
        else if (line.StartsWith("Rss:"u8))
        {
            _ = ProcText.TryLeadingDecimal(line["Rss:"u8.Length..], out entry.RssKiB);
        }
        else if (line.StartsWith("Private_Hugetlb:"u8) || line.StartsWith("Shared_Hugetlb:"u8))
        {
            // Rss leaves these out.
            _ = ProcText.TryLeadingDecimal(line[(line.IndexOf((byte)':') + 1)..], out ulong huge);
            entry.RssKiB += huge;
        }
        else if (line.StartsWith("Anonymous:"u8))
        {
            _ = ProcText.TryLeadingDecimal(line["Anonymous:"u8.Length..], out entry.AnonymousKiB);
        }
        else if (line.StartsWith("Swap:"u8))
        {
            _ = ProcText.TryLeadingDecimal(line["Swap:"u8.Length..], out entry.SwapKiB);
        }
        else if (line.StartsWith("ProtectionKey:"u8))
        {
            _ = ProcText.TryLeadingDecimal(line["ProtectionKey:"u8.Length..], out entry.ProtectionKey);
        }

        return true;
    }

    private static VmFlags ParseFlag(byte a, byte b) => ((char)a, (char)b) switch
    {
        ('s', 'h') => VmFlags.Shared,
        ('g', 'd') => VmFlags.GrowsDown,
        ('p', 'f') => VmFlags.PureFrames,
        ('l', 'o') or ('l', 'f') => VmFlags.Locked,
        ('i', 'o') => VmFlags.Io,
        ('s', 'r') => VmFlags.SequentialRead,
        ('r', 'r') => VmFlags.RandomRead,
        ('d', 'c') => VmFlags.DontCopy,
        ('d', 'e') => VmFlags.DontExpand,
        ('a', 'c') => VmFlags.Accounted,
        ('n', 'r') => VmFlags.NoReserve,
        ('h', 't') => VmFlags.HugeTlb,
        ('a', 'r') => VmFlags.Architecture,
        ('w', 'f') => VmFlags.WipeOnFork,
        ('d', 'd') => VmFlags.DontDump,
        ('m', 'm') => VmFlags.MixedMap,
        ('h', 'g') => VmFlags.HugePage,
        ('n', 'h') => VmFlags.NoHugePage,
        ('m', 'g') => VmFlags.Mergeable,
        ('u', 'm') => VmFlags.UserfaultMissing,
        ('u', 'w') => VmFlags.UserfaultWrite,
        ('u', 'i') => VmFlags.UserfaultMinor,
        ('s', 's') => VmFlags.ShadowStack,
        ('s', 'l') => VmFlags.Sealed,
        ('d', 'p') => VmFlags.Droppable,
        ('r', 'd') or ('w', 'r') or ('e', 'x') or ('m', 'r') or ('m', 'w') or ('m', 'e') or ('m', 's') or
            ('s', 'd') or ('s', 'f') or ('g', 'u') or ('m', 't') => VmFlags.Plain,
        _ => VmFlags.Unknown,
    };
}
