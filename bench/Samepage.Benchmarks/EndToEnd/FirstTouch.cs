namespace Samepage.Benchmarks.EndToEnd;

/// <summary>
/// (i) What the first touch of a page costs after a merge: as it is, with page tables filled in the merge transaction
/// (MADV_POPULATE_READ, what set_pte_at_notify does for a secondary MMU), and on plain mappings of the same pages with and
/// without it. In a merged mapping itself it cannot be left out: an empty entry there means zeros.
/// </summary>
internal static class FirstTouch
{
    private const string Part = "i touch";

    /// <summary>Measures.</summary>
    public static void Run(Setting setting)
    {
        var mebibytes = setting.Smoke ? 32 : 256;
        using var daemon = Daemon.Start(setting.Folder);
        var pair = MemoryProcess.StartPair(setting.Folder, mebibytes, "same", mergeable: false);
        int[] pids = [.. pair.Select(memory => memory.Pid)];
        Add(setting, "before the merge", pair[0].Touch(), pair[0].Pages);
        daemon.Attach(pids);
        daemon.Merge(pids);
        Add(setting, "after the merge", pair[0].Touch(), pair[0].Pages);
        Add(setting, "plain, filled before", pair[1].TouchControl(populated: true), pair[1].Pages);
        Add(setting, "plain, not filled", pair[1].TouchControl(populated: false), pair[1].Pages);
        Array.ForEach(pair, memory => memory.Check());
        Array.ForEach(pair, memory => memory.Dispose());
    }

    private static void Add(Setting setting, string who, long[] figures, long pages)
    {
        if (figures.Length < 5)
        {
            throw new InvalidOperationException("the memory program could not make its control mapping");
        }

        setting.Report.Add(Part, "faults per 1,000 pages", who, figures[0] * 1000.0 / pages, "");
        setting.Report.Add(Part, "first touch, p50", who, figures[1], "ns");
        setting.Report.Add(Part, "first touch, p99", who, figures[2], "ns");
        setting.Report.Add(Part, "first touch, longest", who, figures[3] / 1e3, "us");
        setting.Report.Add(Part, "first touch of a page, mean", who, (double)figures[4] / pages, "ns");
        if (figures.Length > 5)
        {
            setting.Report.Add(Part, "filling, per page", who, (double)figures[5] / pages, "ns");
        }
    }
}
