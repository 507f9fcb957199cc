using Samepage.Linux.Keeper;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Tests.Interception;

/// <summary>How long the keeper holds what belongs to a command; time is given, not waited for.</summary>
public sealed class KeptDescriptorsTests
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void A_listener_waits_ten_seconds_for_a_daemon_and_then_takes_all_of_its_command_along()
    {
        using var ledger = new KeeperLedger();
        var kept = new KeptDescriptors(ledger);
        foreach (string name in (string[])["run:1-2:listener", "run:1-2:journal", "run:1-22:journal", "other"])
        {
            Assert.Equal("ok", Keep(kept, name));
        }

        Assert.True(kept.HasListeners);
        kept.Look(Start, hasDaemon: false);
        kept.Look(Start + KeptDescriptors.DaemonAwaited - TimeSpan.FromSeconds(1), hasDaemon: false);
        // A daemon came and went: the time starts anew.
        kept.Look(Start + KeptDescriptors.DaemonAwaited, hasDaemon: true);
        kept.Look(Start + KeptDescriptors.DaemonAwaited, hasDaemon: false);
        Assert.Equal(4, ledger.Kept.Count);
        kept.Look(Start + (2 * KeptDescriptors.DaemonAwaited), hasDaemon: false);
        Assert.Equal(["other", "run:1-22:journal"], ledger.Kept.Keys.Order(StringComparer.Ordinal));
        Assert.False(kept.HasListeners);
    }

    [Fact]
    public void What_is_kept_is_in_the_ledger_by_name_and_can_be_let_go()
    {
        using var ledger = new KeeperLedger();
        var kept = new KeptDescriptors(ledger);
        Assert.Equal("ok", Keep(kept, "run:1-2:area-5"));
        Assert.StartsWith("ok ", kept.Take("run:1-2:area-5"), StringComparison.Ordinal);
        Assert.StartsWith("err ", kept.Take("run:1-2:area-6"), StringComparison.Ordinal);
        Assert.Equal("ok", kept.LetGo("run:1-2:area-5"));
        Assert.StartsWith("err ", kept.LetGo("run:1-2:area-5"), StringComparison.Ordinal);
        var noDescriptor = new KeeperRequest(KeeperVerb.Keep, Environment.ProcessId, Fd: 999_999, Domain: "x");
        Assert.StartsWith("err ", kept.Keep(noDescriptor), StringComparison.Ordinal);
        Assert.Empty(ledger.Kept);
    }

    [Theory]
    [InlineData("KEEP a%20b 1 2", true)]
    [InlineData("KEEP a 1", false)]
    [InlineData("KEEP a 0 2", false)]
    [InlineData("KEEP a 1 -2", false)]
    [InlineData("LET-GO", false)]
    [InlineData("TAKE-KEPT a b", false)]
    [InlineData("TAKE-KEPT a", true)]
    public void Requests_are_parsed_strictly(string line, bool isGood) =>
        Assert.Equal(isGood, KeeperProtocol.Parse(System.Text.Encoding.ASCII.GetBytes(line)).Request is not null);

    private static string Keep(KeptDescriptors kept, string name)
    {
        int fd = eventfd(0, O_CLOEXEC);
        try
        {
            return kept.Keep(new KeeperRequest(KeeperVerb.Keep, Environment.ProcessId, Fd: fd, Domain: name));
        }
        finally
        {
            _ = close(fd);
        }
    }
}
