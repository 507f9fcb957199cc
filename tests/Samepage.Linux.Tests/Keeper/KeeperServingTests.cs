using Samepage.Linux.Keeper;
using Xunit;

namespace Samepage.Linux.Tests.Keeper;

/// <summary>Dropped pages of merged memory read as zeros. On the real kernel, against tagged store pages.</summary>
[Collection(KeeperTestsOneByOne.Name)]
public sealed class KeeperServingTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData(1, "x")]
    [InlineData(1, "w")]
    [InlineData(1, "wr")]
    [InlineData(1, "mw")]
    [InlineData(1, "f")]
    [InlineData(1, "fmwr")]
    [InlineData(4, "wr")]
    [InlineData(4, "fwr")]
    [InlineData(4, "fmwr")]
    public void Dropped_pages_read_as_zeros(int threads, string flags)
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        Victim victim = fixture.StartVictim(threads, 128, 2, flags);
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        victim.Begin();
        Dictionary<string, long> counters = victim.Finish(Limit);
        Assert.Equal(0, counters["stale"]);
        Assert.Equal(0, counters["lost"]);
        Assert.True(counters["ops"] > 1000, $"only {counters["ops"]} operations");
        Assert.True(client.Stats()["faults"] > 100, "the keeper had next to nothing to do");
        Assert.Equal(flags.Contains('f', StringComparison.Ordinal), counters["forks"] > 0);
        Assert.Equal(flags.Contains('m', StringComparison.Ordinal), counters["moves"] > 0);
    }

    [Fact]
    public void Serving_with_windows_of_one_page_is_right_too()
    {
        Require.Root();
        using var fixture = new KeeperFixture("--window-pages", "1");
        using KeeperClient client = fixture.Connect();
        Victim victim = fixture.StartVictim(2, 128, 2, "fmwr");
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        victim.Begin();
        Dictionary<string, long> counters = victim.Finish(Limit);
        Assert.Equal(0, counters["stale"] + counters["lost"]);
    }

    [Theory]
    [InlineData("x")]
    [InlineData("f")]
    public void The_detector_sees_a_keeper_that_answers_with_store_bytes(string flags)
    {
        Require.Root();
        using var fixture = new KeeperFixture("--answer-stale");
        using KeeperClient client = fixture.Connect();
        Victim victim = fixture.StartVictim(1, 128, 1, flags);
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        victim.Begin();
        Assert.True(victim.Finish(Limit)["stale"] > 0, "stale bytes were mapped on purpose and nobody noticed");
    }

    [Fact]
    public void Serving_faults_allocates_nothing()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        Victim victim = fixture.StartVictim(2, 128, 2, "mw");
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        IReadOnlyDictionary<string, long> before = client.Stats();
        victim.Begin();
        victim.Finish(Limit);
        IReadOnlyDictionary<string, long> after = client.Stats();
        long faults = after["faults"] - before["faults"];
        long allocated = after["allocated"] - before["allocated"];
        Assert.True(faults > 1000, $"only {faults} faults");
        // The two STATS requests and the slow timer allocate a few hundred bytes; a fault must not.
        Assert.True(allocated < faults, $"{allocated} bytes allocated for {faults} faults");
    }

    [Fact]
    public void Descriptors_of_children_that_exited_do_not_pile_up()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        Victim victim = fixture.StartVictim(1, 64, 4, "s");
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        victim.Begin();
        long most = 0;
        while (!victim.Process.HasExited && most < 1000)
        {
            most = Math.Max(most, client.Stats()["descriptors"]);
            Thread.Sleep(5);
        }

        Assert.Equal(4000, victim.Finish(Limit)["forks"]);
        Assert.Equal(4000, client.Stats()["forks"]);
        // 16 children live at a time.
        Assert.InRange(most, 1, 64);
    }

    [Fact]
    public void A_target_that_exited_is_forgotten_and_an_idle_keeper_leaves()
    {
        Require.Root();
        using var fixture = new KeeperFixture("--idle-seconds", "1");
        KeeperClient client = fixture.Connect();
        Victim victim = fixture.StartVictim(1, 64, 0.1, "x");
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        Assert.Equal(victim.Pid, Assert.Single(client.List().Targets).Pid);
        victim.Begin();
        victim.Finish(Limit);
        Assert.True(Until(() => client.List().Descriptors == 0, 12), fixture.Log);
        Assert.Empty(client.List().Targets);
        Assert.Single(fixture.Holders);
        client.Dispose();
        Assert.True(Until(() => !KeeperSocket.IsServed(fixture.SocketPath, out _), 10), fixture.Log);
        Assert.Empty(fixture.Holders);
    }

    internal static bool Until(Func<bool> condition, double seconds)
    {
        long deadline = Environment.TickCount64 + (long)(seconds * 1000);
        while (!condition())
        {
            if (Environment.TickCount64 > deadline)
            {
                return false;
            }

            Thread.Sleep(5);
        }

        return true;
    }
}
