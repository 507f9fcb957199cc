using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// Daemon and target on one processor: whoever waits for the other has to give it up. A tracing thread of higher
/// scheduling class never let the target reach its stop.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class OneProcessorTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Fact]
    public void A_target_on_the_daemons_only_processor_is_merged()
    {
        using var daemon = new LiveDaemon();
        using var victim = CVictim.Start("writers", ["--threads", "2"]);
        daemon.Start();
        int pid = daemon.Await(0, 0, Limit);
        daemon.Ask(HttpMethod.Put, "/v1/knobs/run", """{"value":"0"}""");
        foreach (int process in (ReadOnlySpan<int>)[pid, victim.Pid])
        {
            DetachedProcess.Run("taskset", ["-acp", "0", $"{process}"]);
        }

        daemon.Ask(HttpMethod.Post, "/v1/targets", $$"""{"pid":{{victim.Pid}}}""");
        long merged = 0;
        for (int round = 0; round < 20 && merged < 200; round++)
        {
            merged += daemon.Ask(HttpMethod.Post, "/v1/merge", "{}").GetProperty("pages_merged").GetInt64();
        }

        output.WriteLine($"{merged} pages merged");
        Assert.True(merged >= 200, $"{merged} pages merged\n{daemon.LogTail}");
        daemon.Ask(HttpMethod.Delete, $"/v1/targets/{victim.Pid}");
        (VictimReport report, int exitCode) = victim.Quit();
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }
}
