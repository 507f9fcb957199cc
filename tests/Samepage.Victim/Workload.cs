namespace Samepage.Victims;

/// <summary>
/// One way of using memory, with a region of its own and threads that check all they read. Counts are written by
/// several threads and read by the reporting one.
/// </summary>
internal abstract class Workload(string mode, VictimOptions options)
{
    private long operations;
    private long lost;
    private long wrong;

    internal string Mode { get; } = mode;

    internal Region Region { get; } = new(options.Pages);

    internal long Operations => Volatile.Read(ref operations);

    internal long Lost => Volatile.Read(ref lost);

    internal long Wrong => Volatile.Read(ref wrong);

    protected VictimOptions Options { get; } = options;

    protected Content Content { get; } = new(options.Seed);

    internal static Workload Create(string mode, VictimOptions options) => mode switch
    {
        "fill" => new Fill(options),
        "writers" => new Writers(options),
        "kernel" => new KernelWriters(options),
        "readers" => new Readers(options),
        "dontneed" => new DontNeed(options),
        "churn" => new Churn(options),
        _ => throw new ArgumentException($"unknown mode '{mode}'"),
    };

    internal IEnumerable<Thread> Start(CancellationToken stop) =>
        Enumerable.Range(0, Options.Threads).Select(index =>
    {
        var thread = new Thread(() => Run(index, stop)) { IsBackground = true };
        thread.Start();
        return thread;
    });

    /// <summary>Checks what can be checked at once; called while the threads run and once afterwards.</summary>
    internal virtual void Verify()
    {
    }

    /// <summary>Changes one byte of what is checked.</summary>
    internal abstract void Sabotage(ref Dice dice);

    protected abstract void Run(int thread, CancellationToken stop);

    protected void CountOperations(long count) => Interlocked.Add(ref operations, count);

    protected void CountLost() => Interlocked.Increment(ref lost);

    protected void CountWrong() => Interlocked.Increment(ref wrong);

    /// <summary>First page and number of pages of a thread that shares its pages with no other.</summary>
    protected (int First, int Count) PartOf(int thread)
    {
        int count = Options.Pages / Options.Threads;
        return (thread * count, count);
    }

    protected void FillAll()
    {
        for (int page = 0; page < Region.Pages; page++)
        {
            Content.Fill(Region, page);
        }
    }
}

/// <summary>For --broken: damages each region a thousand times a second.</summary>
internal static class Saboteur
{
    internal static Thread Start(IReadOnlyList<Workload> workloads, CancellationToken stop)
    {
        var thread = new Thread(() =>
        {
            var dice = new Dice(7);
            while (!stop.IsCancellationRequested)
            {
                foreach (Workload workload in workloads)
                {
                    workload.Sabotage(ref dice);
                }

                Thread.Sleep(1);
            }
        }) { IsBackground = true };
        thread.Start();
        return thread;
    }
}
