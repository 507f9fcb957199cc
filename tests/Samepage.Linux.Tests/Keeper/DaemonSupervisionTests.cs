using System.Diagnostics;
using System.Globalization;
using Samepage.Linux.Keeper;
using Xunit;

namespace Samepage.Linux.Tests.Keeper;

/// <summary>The keeper starts a new daemon when the old one vanishes. The daemon here is a shell that writes down its
/// number.</summary>
[Collection(KeeperTestsOneByOne.Name)]
public sealed class DaemonSupervisionTests
{
    [Fact]
    public void A_killed_daemon_is_replaced_within_a_second()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        Process first = StartDaemon(fixture, client);
        var time = Stopwatch.StartNew();
        first.Kill();
        int second = NextDaemon(fixture, 1);
        Assert.True(time.ElapsedMilliseconds < 1000, $"{time.ElapsedMilliseconds} ms");
        KeeperFixture.Kill(second);
        int third = NextDaemon(fixture, 2);
        // Own session, nothing inherited but stdio, ordinary priority and OOM score.
        Assert.Equal(third.ToString(CultureInfo.InvariantCulture), StatField(third, 6));
        Assert.Equal(3, Directory.GetFiles($"/proc/{third}/fd").Length);
        Assert.Equal("0", StatField(third, 19));
        Assert.Equal(File.ReadAllText("/proc/self/oom_score_adj"), File.ReadAllText($"/proc/{third}/oom_score_adj"));
        client.Goodbye();
        KeeperFixture.Kill(third);
    }

    [Fact]
    public void A_daemon_that_said_goodbye_is_not_replaced()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        Process daemon = StartDaemon(fixture, client);
        client.Goodbye();
        daemon.Kill();
        Thread.Sleep(700);
        Assert.False(File.Exists(fixture.PathOf(KeeperFixture.DaemonsFile)));
    }

    [Fact]
    public void Respawning_can_be_turned_off()
    {
        Require.Root();
        using var fixture = new KeeperFixture("--no-respawn");
        using KeeperClient client = fixture.Connect();
        StartDaemon(fixture, client).Kill();
        Thread.Sleep(700);
        Assert.False(File.Exists(fixture.PathOf(KeeperFixture.DaemonsFile)));
        client.Ping();
    }

    [Fact]
    public void A_daemon_that_dies_at_once_is_given_up_and_targets_are_served_on()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        Process daemon = fixture.Run("/bin/sleep", "600");
        client.Hello(daemon.Id, ["/bin/sh", "-c", $"echo $$ >> {fixture.PathOf(KeeperFixture.DaemonsFile)}"]);
        daemon.Kill();
        Assert.True(KeeperServingTests.Until(
            () => fixture.Log.Contains("not starting it again", StringComparison.Ordinal), 25), fixture.Log);
        Assert.Equal(DaemonSupervisor.DeathsMax, File.ReadAllLines(fixture.PathOf(KeeperFixture.DaemonsFile)).Length);
        Victim victim = fixture.StartVictim(1, 64, 0.5, "f");
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        victim.Begin();
        Dictionary<string, long> counters = victim.Finish(TimeSpan.FromSeconds(30));
        Assert.Equal(0, counters["stale"] + counters["lost"]);
    }

    [Fact]
    public void Termination_signals_wait_until_nothing_is_held()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        Victim victim = fixture.StartVictim(1, 64, 0.2, "x");
        client.Add(victim.Pid, victim.StartTime, victim.Fd);
        string keeper = client.KeeperPid.ToString(CultureInfo.InvariantCulture);
        foreach (string signal in new[] { "-INT", "-HUP", "-TERM" })
        {
            fixture.Run("/bin/kill", signal, keeper).WaitForExit();
        }

        Thread.Sleep(300);
        client.Ping();
        victim.Begin();
        Assert.Equal(0, victim.Finish(TimeSpan.FromSeconds(30))["stale"]);
        Assert.True(KeeperServingTests.Until(() => KeeperFixture.HasExited(client.KeeperPid), 15), fixture.Log);
        Assert.True(KeeperServingTests.Until(() => fixture.Holders.Count == 0, 5));
    }

    private static Process StartDaemon(KeeperFixture fixture, KeeperClient client)
    {
        Process daemon = fixture.Run("/bin/sleep", "600");
        string path = fixture.PathOf(KeeperFixture.DaemonsFile);
        client.Hello(daemon.Id, ["/bin/sh", "-c", $"echo $$ >> {path}; exec sleep 600"]);
        return daemon;
    }

    private static int NextDaemon(KeeperFixture fixture, int count)
    {
        string path = fixture.PathOf(KeeperFixture.DaemonsFile);
        bool Started() => File.Exists(path) && File.ReadAllLines(path).Length >= count;
        Assert.True(KeeperServingTests.Until(Started, 3), fixture.Log);
        return int.Parse(File.ReadAllLines(path)[count - 1], CultureInfo.InvariantCulture);
    }

    // Counted as proc(5) does.
    private static string StatField(int pid, int number)
    {
        string text = File.ReadAllText($"/proc/{pid}/stat");
        return text[(text.LastIndexOf(')') + 2)..].Split(' ')[number - 3];
    }
}
