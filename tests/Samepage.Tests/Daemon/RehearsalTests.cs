using Samepage.Daemon.Warmup;
using Xunit;

namespace Samepage.Tests.Daemon;

/// <summary>A rehearsal is worth something only if it goes where a real merge goes.</summary>
public class RehearsalTests
{
    [Fact]
    public void ItMergesEqualPagesTakesZeroPagesAwayAndMeetsPagesThatHaveChanged()
    {
        MergeReport report = Rehearsal.Merge();

        Assert.True(report.PagesMerged > 500, $"{report.PagesMerged} pages merged");
        Assert.True(report.ZeroPages > 500, $"{report.ZeroPages} zero pages");
        Assert.True(report.Complete);
    }
}
