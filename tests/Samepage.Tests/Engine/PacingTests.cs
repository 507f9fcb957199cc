using Xunit;

namespace Samepage.Tests;

public class PacingTests
{
    [Fact]
    public void AWakeUpVisitsExactlyPagesToScanPagesAndThenSleepsExactlySleepMillisecs()
    {
        var world = new World();
        world.Set("pages_to_scan", "37");
        world.Set("sleep_millisecs", "13");
        world.Start(1000, page => page + 1);
        world.Start(1000, page => page + 1);

        // The first pass: 2000 visits in wake-ups of 37, of which the last ends with the pass.
        for (int step = 1; step <= 54; step++)
        {
            Assert.Equal(TimeSpan.FromMilliseconds(13), world.Engine.Step());
            Assert.Equal(step * 37, world.Status.PagesScanned);
            Assert.Equal(0, world.Status.FullScans);
        }

        Assert.Equal(TimeSpan.FromMilliseconds(13), world.Engine.Step());
        Assert.Equal((2000, 1), (world.Status.PagesScanned, world.Status.FullScans));

        // The second: every page is visited once more, to be decided about.
        for (int step = 1; step <= 54; step++)
        {
            world.Engine.Step();
            Assert.Equal(2000 + (step * 37), world.Status.PagesScanned);
        }

        world.Engine.Step();
        Assert.Equal((4000, 2), (world.Status.PagesScanned, world.Status.FullScans));
        world.Check();
    }

    [Fact]
    public void PagesToScanZeroVisitsNothing()
    {
        var world = new World();
        world.Set("pages_to_scan", "0");
        MemoryProcess process = world.Start(10, page => page + 1);

        for (int i = 0; i < 10; i++)
        {
            Assert.Equal(TimeSpan.FromMilliseconds(20), world.Engine.Step());
        }

        Assert.Equal(0, process.PagesRead);
    }

    [Fact]
    public void IdleMemoryDoesNotHoldAWakeUpForLong()
    {
        var world = new World();
        world.Set("pages_to_scan", "100000");
        world.Machine.CpuPerPage = TimeSpan.FromMilliseconds(1);
        for (int i = 0; i < 10; i++)
        {
            world.Start(4096, page => page + 1);
        }

        world.Passes(2);
        TimeSpan before = world.Machine.CpuTime;
        long scans = world.Status.FullScans;

        // Each walk over 4096 pages takes 8 ms here; a wake-up may walk for 2 and always finishes the call it is in.
        world.Engine.Step();

        Assert.InRange((world.Machine.CpuTime - before).TotalMilliseconds, 1, 9);
        Assert.Equal(scans, world.Status.FullScans);
    }

    [Theory]
    [InlineData(10)]
    [InlineData(70)]
    [InlineData(100)]
    public void TheAdvisorUsesNoMoreCpuThanAllowed(int percent)
    {
        var world = new World();
        world.Set("advisor_max_cpu", $"{percent}");
        world.Machine.CpuPerPage = TimeSpan.FromMicroseconds(100);
        world.Start(5000, page => page + 1);
        world.Start(5000, page => page + 1);

        TimeSpan start = world.Machine.Time.Now;
        TimeSpan cpu = world.Machine.CpuTime;
        for (int step = 0; step < 60; step++)
        {
            world.Machine.Time.Advance(world.Engine.Step());
        }

        // One second of work to do: enough for 60 wake-ups.
        double used = (world.Machine.CpuTime - cpu) / (world.Machine.Time.Now - start);
        Assert.InRange(used, percent / 100.0 * 0.9, (percent / 100.0) + 0.0001);
    }

    [Fact]
    public void WithNothingToDoTheSleepsGrowToASecondAndShrinkWhenThereIsSomething()
    {
        var world = new World();
        MemoryProcess process = world.Start(100, page => page + 1);
        var sleeps = new List<double>();
        for (int i = 0; i < 12; i++)
        {
            TimeSpan sleep = world.Engine.Step();
            sleeps.Add(sleep.TotalMilliseconds);
            world.Machine.Time.Advance(sleep);
        }

        Assert.Equal(
            [20, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000, 1000], sleeps.Select(sleep => Math.Round(sleep)));

        // One page that changes all the time is no reason to hurry, many are.
        process.Write(World.Base, 99999);
        Assert.Equal(TimeSpan.FromSeconds(1), world.Engine.Step());
        process.Fill(new PageRange(World.Base, World.Base + 50), page => page + 5000);
        Assert.Equal(TimeSpan.FromMilliseconds(20), world.Engine.Step());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void StoppedNothingHappensAndWhatIsMergedStaysMerged(int run)
    {
        var world = new World();
        MemoryProcess one = world.Start(10, page => page + 1);
        world.Start(10, page => page + 1);
        world.Passes(2);
        world.Set("run", $"{run}");
        one.Write(World.Base, 5);
        long read = one.PagesRead;

        for (int i = 0; i < 5; i++)
        {
            Assert.Equal(Timeout.InfiniteTimeSpan, world.Engine.Step());
        }

        Assert.Equal((read, 9), (one.PagesRead, one.StorePages));
        Assert.Equal(2, world.Status.FullScans);
    }

    [Fact]
    public void WithoutTargetsFullScansStandsStill()
    {
        var world = new World();
        Assert.Equal(Timeout.InfiniteTimeSpan, world.Engine.Step());
        MemoryProcess process = world.Start(1, _ => 1);
        world.Passes(1);
        process.Exit();

        Assert.Equal(Timeout.InfiniteTimeSpan, world.Engine.Step());
        Assert.Equal(1, world.Status.FullScans);
    }
}
