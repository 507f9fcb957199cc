namespace Samepage.Simulation;

/// <summary>
/// The questions that matter, asked in one place for the simulator, for unit tests and for tests with a real
/// kernel: does each process read exactly what it wrote? is every shared page read-only? do the counters add up? is
/// everything equal merged?
/// </summary>
public static class MemoryChecker
{
    /// <summary>Each page reads as it was written, and no shared page is writable. Holds at every moment.</summary>
    public static void CheckPages(IEnumerable<IObservedProcess> processes, ICollection<Violation> wrong)
    {
        ArgumentNullException.ThrowIfNull(processes);
        ArgumentNullException.ThrowIfNull(wrong);
        foreach (IObservedProcess process in processes)
        {
            if (!process.IsAlive)
            {
                continue;
            }

            foreach (ObservedPage page in process.Observe())
            {
                if (page.Reads != page.Written)
                {
                    wrong.Add(new Violation(
                        "contents",
                        $"{process.Name} reads {page.Reads:x} at page {page.Page:x}, wrote {page.Written:x}"));
                }

                if (page.IsShared && page.IsWritable)
                {
                    wrong.Add(new Violation(
                        "read-only", $"{process.Name} may write the shared page at {page.Page:x}"));
                }
            }
        }
    }

    /// <summary>
    /// The engine's counters are what one counts. Holds at rest: nothing was written or dropped since the engine last
    /// looked at everything.
    /// </summary>
    /// <param name="status">The engine's counters.</param>
    /// <param name="targets">The counters of each registered target that is alive.</param>
    /// <param name="registered">The same targets, in the same order.</param>
    /// <param name="isUnderCare">True for pages of the engine's spans: others it does not count.</param>
    /// <param name="wrong">Receives what does not add up.</param>
    public static void CheckCounters(
        EngineStatus status,
        IReadOnlyList<TargetStatus> targets,
        IReadOnlyList<IObservedProcess> registered,
        Func<IObservedProcess, ulong, bool> isUnderCare,
        ICollection<Violation> wrong)
    {
        ArgumentNullException.ThrowIfNull(status);
        ArgumentNullException.ThrowIfNull(targets);
        ArgumentNullException.ThrowIfNull(registered);
        ArgumentNullException.ThrowIfNull(isUnderCare);
        ArgumentNullException.ThrowIfNull(wrong);
        var slots = new HashSet<(string, uint)>();
        long mapped = 0;
        for (int i = 0; i < targets.Count; i++)
        {
            long own = 0;
            foreach (ObservedPage page in registered[i].Observe())
            {
                if (page.Store is not null && isUnderCare(registered[i], page.Page))
                {
                    own++;
                    slots.Add((page.Store, page.Slot));
                    Expect(wrong, $"domain of {registered[i].Name}", page.Store == targets[i].Domain ? 1 : 0, 1);
                }
            }

            mapped += own;
            Expect(wrong, $"merged pages of {registered[i].Name}", targets[i].MergedPages, own);
        }

        Expect(wrong, "pages_shared", status.PagesShared, slots.Count);
        Expect(wrong, "pages_sharing", status.PagesSharing, mapped - slots.Count);
        Expect(
            wrong, "bytes_saved", status.BytesSaved, (status.PagesSharing + status.ZeroPages) * PageSize.Bytes);
        Expect(wrong, "profit_bytes", status.ProfitBytes, status.BytesSaved - status.MetadataBytes);
        Expect(wrong, "zero_pages", status.ZeroPages, targets.Sum(target => target.ZeroPages));
        Expect(wrong, "pages_unshared", status.PagesUnshared, targets.Sum(target => target.PagesUnshared));
        Expect(wrong, "pages_volatile", status.PagesVolatile, targets.Sum(target => target.PagesVolatile));

        // Each target's part is rounded down by itself.
        long parts = targets.Sum(target => target.BytesSaved);
        if (Math.Abs(parts - status.BytesSaved) > 64)
        {
            wrong.Add(new Violation("counters", $"the targets' bytes_saved are {parts}, together {status.BytesSaved}"));
        }
    }

    /// <summary>Each store holds as many pages as the engine believes.</summary>
    public static void CheckStores(EngineStatus status, Func<string, long> pagesIn, ICollection<Violation> wrong)
    {
        ArgumentNullException.ThrowIfNull(status);
        ArgumentNullException.ThrowIfNull(pagesIn);
        ArgumentNullException.ThrowIfNull(wrong);
        foreach (DomainStatus domain in status.Domains)
        {
            Expect(wrong, $"store pages of {domain.Name}", domain.StorePages, pagesIn(domain.Name));
        }
    }

    /// <summary>
    /// Of each content at most one page of a domain is still private. Holds at rest, once nothing goes wrong any more.
    /// </summary>
    /// <param name="domain">Name of the domain.</param>
    /// <param name="processes">Its registered processes.</param>
    /// <param name="isUnderCare">True for pages the engine has under its care.</param>
    /// <param name="wrong">Receives equal pages that are not merged.</param>
    public static void CheckConverged(
        string domain,
        IEnumerable<IObservedProcess> processes,
        Func<IObservedProcess, ulong, bool> isUnderCare,
        ICollection<Violation> wrong)
    {
        ArgumentNullException.ThrowIfNull(processes);
        ArgumentNullException.ThrowIfNull(isUnderCare);
        ArgumentNullException.ThrowIfNull(wrong);
        var lone = new Dictionary<UInt128, string>();
        foreach (IObservedProcess process in processes.Where(process => process.IsAlive))
        {
            foreach (ObservedPage page in process.Observe())
            {
                string where = $"page {page.Page:x} of {process.Name}";
                if (!page.IsShared && isUnderCare(process, page.Page) && !lone.TryAdd(page.Reads, where))
                {
                    wrong.Add(new Violation(
                        "converged", $"{where} and {lone[page.Reads]} are equal ({page.Reads:x}) in {domain}, not merged"));
                }
            }
        }
    }

    private static void Expect(ICollection<Violation> wrong, string what, long value, long counted)
    {
        if (value != counted)
        {
            wrong.Add(new Violation("counters", $"{what} is {value}, counted {counted}"));
        }
    }
}
