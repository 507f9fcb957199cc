using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>An engine on a machine in memory.</summary>
internal sealed class World
{
    public const ulong Base = 0x7f00_0000_0;

    public World(MemoryMachine? machine = null, ulong seed = 42, SamplingOptions? sampling = null)
    {
        Machine = machine ?? new MemoryMachine();
        Engine = new Engine(Machine, Knobs, seed, sampling ?? SamplingOptions.Default);
    }

    public MemoryMachine Machine { get; }

    public Knobs Knobs { get; } = new();

    public Engine Engine { get; }

    public EngineStatus Status => Engine.Status();

    /// <summary>A process with one region, every page written with the word given, registered.</summary>
    public MemoryProcess Start(int pages, Func<ulong, ulong> word, string domain = "d", ulong at = Base)
    {
        var range = new PageRange(at, at + (ulong)pages);
        MemoryProcess process = Machine.Start(range);
        process.Fill(range, page => word(page - at));
        Engine.Register(process, domain);
        return process;
    }

    public void Set(string name, string value) => Assert.True(Knobs.TrySet(name, value, out string error), error);

    /// <summary>Steps, with the sleeps between them, until that many passes have ended.</summary>
    public void Passes(int passes)
    {
        long end = Engine.Status().FullScans + passes;
        for (int step = 0; Engine.Status().FullScans < end; step++)
        {
            Assert.True(step < 100_000, "a pass does not end");
            TimeSpan sleep = Engine.Step();
            Assert.NotEqual(Timeout.InfiniteTimeSpan, sleep);
            Machine.Time.Advance(sleep);
        }
    }

    public MergeReport Merge() => Engine.Merge(null, null, TestContext.Current.CancellationToken);

    /// <summary>Every process reads what it wrote, no rule of a store was broken, and the counters are what one counts.
    /// </summary>
    public void Check(bool counters = true)
    {
        Assert.Empty(Machine.Check());
        if (counters)
        {
            CheckCounters();
        }
    }

    /// <summary>Waits until no merged page can be out of date any more, and checks everything.</summary>
    public void CheckAtRest()
    {
        // Two passes hear of every write; the audit, a part every half second, of everything else.
        for (int i = 0; i < 40; i++)
        {
            Machine.Time.Advance(TimeSpan.FromSeconds(1));
            Passes(1);
        }

        Check();
    }

    private void CheckCounters()
    {
        var wrong = new List<Violation>();
        MemoryChecker.CheckCounters(
            Status,
            [.. Engine.Targets.Select(target => target.Status())],
            [.. Engine.Targets.Select(target => (IObservedProcess)target.Target)],
            (_, _) => true,
            wrong);
        MemoryChecker.CheckStores(Status, domain => Machine.OpenStore(domain).PagesUsed, wrong);
        Assert.Empty(wrong);
    }
}
