using Samepage.Linux.Tests.Support;
using Xunit;

namespace Samepage.Linux.Tests;

/// <summary>The guests by themselves, without anybody merging them.</summary>
public sealed class GuestTests
{
    [Fact]
    public void AGuestBootsKeepsItsFilesAndEndsWhenAsked()
    {
        using var guests = Guests.Start(count: 1, mebibytes: 128);
        guests.Check();
        Assert.Equal("ok", guests.Talk(0, "stress", "1"));
        guests.Check();
        Assert.True(guests.Memory() > 100 << 20, $"{guests.Memory()} bytes");
        guests.Talk(0, "quit");
        Assert.Equal(0ul, DetachedProcess.StartTimeOf(guests.Pids[0]));
    }
}
