using Xunit;

namespace Samepage.Tests;

[CollectionDefinition("alone", DisableParallelization = true)]
public sealed class Alone;

/// <summary>What the engine costs, on targets whose pages cost almost nothing themselves.</summary>
[Collection("alone")]
public class CostTests(ITestOutputHelper output)
{
    private const int MillionPages = 1 << 20;

    public static TheoryData<string> Mixes => ["unique", "pairs", "many", "zero", "fragments"];

    [Theory]
    [MemberData(nameof(Mixes))]
    public void MetadataStaysBelow16BytesPerRegisteredPage(string mix)
    {
        (Engine engine, _, SyntheticTarget[] targets) = Start(mix, MillionPages);
        long before = GC.GetTotalMemory(forceFullCollection: true);

        engine.Merge(null, null, TestContext.Current.CancellationToken);

        EngineStatus status = engine.Status();
        long used = GC.GetTotalMemory(forceFullCollection: true) - before - targets.Sum(target => target.BytesGrown)
            - engine.Status().Domains.Count;
        output.WriteLine($"{mix}: {status.MetadataBytes / (double)status.RegisteredPages:f2} bytes per page, "
            + $"{used / (double)status.RegisteredPages:f2} measured");
        Assert.InRange(status.MetadataBytes / (double)status.RegisteredPages, 8, 16);
        // What it says of itself is what the collector says. It counts buffers that exist from the start on.
        Assert.InRange(used, status.MetadataBytes * 0.9 - (2 << 20), status.MetadataBytes * 1.02 + 65536);
        GC.KeepAlive(engine);
    }

    [Fact]
    public void MetadataStaysBelow16BytesPerPageWhenEveryPageIsScannedInTheBackground()
    {
        (Engine engine, SyntheticMachine machine, _) = Start("unique", MillionPages);
        while (engine.Status().FullScans < 4)
        {
            machine.Time.Advance(engine.Step());
        }

        double perPage = engine.Status().MetadataBytes / (double)MillionPages;
        output.WriteLine($"{perPage:f2} bytes per page");
        Assert.InRange(perPage, 8, 16);
    }

    // Not "pairs": its new store pages get new records, which is not scanning.
    [Theory]
    [InlineData("unique")]
    [InlineData("many")]
    [InlineData("zero")]
    public void ScanningAllocatesNothingPerPage(string mix)
    {
        (Engine engine, SyntheticMachine machine, SyntheticTarget[] targets) = Start(mix, 1 << 16);
        Passes(8);
        long before = GC.GetAllocatedBytesForCurrentThread();

        const int rounds = 8;
        for (int round = 0; round < rounds; round++)
        {
            // All pages change, are read and digested, and are merged again.
            Array.ForEach(targets, target => target.Rewrite());
            Passes(2);
        }

        long perRound = (GC.GetAllocatedBytesForCurrentThread() - before) / rounds;
        output.WriteLine($"{perRound} bytes for {1 << 16} pages, {engine.Status().PagesSharing} shared");
        Assert.True(engine.Status().PagesScanned >= (long)rounds << 17);
        // Two visits a page: the smallest object for every 24th visit. The index makes a segment anew now and then, and
        // the store pages of "many" have records.
        Assert.InRange(perRound, 0, 2 << 16);

        void Passes(int passes)
        {
            long end = engine.FullScans + passes;
            while (engine.FullScans < end)
            {
                machine.Time.Advance(engine.Step());
            }
        }
    }

    [Fact]
    public void APassOverIdleMemoryAllocatesNothingAndIsOneCallPerRegion()
    {
        (Engine engine, SyntheticMachine machine, SyntheticTarget[] targets) = Start("unique", 1 << 16);
        for (int i = 0; i < 2000; i++)
        {
            machine.Time.Advance(engine.Step());
        }

        long scans = targets.Sum(target => target.Scans);
        long full = engine.FullScans;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            machine.Time.Advance(engine.Step());
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(100, engine.FullScans - full);
        Assert.Equal(100 * targets.Length, targets.Sum(target => target.Scans) - scans);
    }

    [Theory]
    [MemberData(nameof(Mixes))]
    public void MergingAMillionPagesIsReported(string mix)
    {
        (Engine engine, _, SyntheticTarget[] targets) = Start(mix, MillionPages);
        TimeSpan start = Environment.CpuUsage.TotalTime;

        MergeReport report = engine.Merge(null, null, TestContext.Current.CancellationToken);

        double seconds = (Environment.CpuUsage.TotalTime - start).TotalSeconds;
        output.WriteLine($"{mix}: {MillionPages / seconds / 1e6:f2} M pages per CPU second; "
            + $"{report.PagesMerged} merged, {report.ZeroPages} zero, {targets.Sum(target => target.PlansSeen)} plans");
        Assert.True(report.Complete);
        Assert.True(mix is "unique" || report.PagesMerged + report.ZeroPages > MillionPages / 2);
    }

    private static (Engine Engine, SyntheticMachine Machine, SyntheticTarget[] Targets) Start(string mix, int pages)
    {
        var machine = new SyntheticMachine();
        var engine = new Engine(machine, new Knobs(), 1);
        const int count = 2;
        int each = pages / count;
        var targets = new SyntheticTarget[count];
        for (int i = 0; i < count; i++)
        {
            ulong own = (ulong)(i + 1) << 40;
            targets[i] = new SyntheticTarget(i + 1, each, mix switch
            {
                "unique" => page => own + page,
                "pairs" => page => page + 1,
                "many" => page => 1 + (page % 1000),
                "zero" => _ => 0,
                // Stretches of 32 pages in another order in each.
                _ => page => 1 + (page ^ (own >> 35)),
            });
            engine.Register(targets[i], "d");
        }

        return (engine, machine, targets);
    }
}
