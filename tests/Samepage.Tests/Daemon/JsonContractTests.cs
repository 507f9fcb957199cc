using System.Text.Json;
using Samepage.Cli.Demo;
using Xunit;

namespace Samepage.Tests;

/// <summary>The fields other tools rely on, one by one, as the command line prints them.</summary>
public sealed class JsonContractTests
{
    [Fact]
    public async Task StatusHasEveryFieldOfTheContractWithItsType()
    {
        var (daemon, _, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("merge").Good();
        JsonElement status = daemon.Cli("status", "--json").Good().Json;
        string[] whole =
        [
            "run", "full_scans", "pages_scanned", "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
            "zero_pages", "bytes_saved", "profit_bytes", "metadata_bytes", "targets", "pid", "registered_pages",
            "store_pages",
        ];
        AssertWhole(status, whole);
        AssertReal(status, "cpu_seconds", "uptime_seconds");
        Assert.Equal(JsonValueKind.Object, status.GetProperty("not_merged").ValueKind);
        Assert.Equal(JsonValueKind.Array, status.GetProperty("domains").ValueKind);
        AssertNames(
            status, [.. whole, "cpu_seconds", "uptime_seconds", "not_merged", "domains", "stop_times", "version"]);
    }

    [Fact]
    public async Task StatusCountsWhatWasMerged()
    {
        var (daemon, _, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("merge").Good();
        JsonElement status = daemon.Cli("status", "--json").Good().Json;
        Assert.Equal(0, status.GetProperty("run").GetInt32());
        Assert.Equal(64, status.GetProperty("pages_shared").GetInt64());
        Assert.Equal(64, status.GetProperty("pages_sharing").GetInt64());
        Assert.Equal(16, status.GetProperty("zero_pages").GetInt64());
        Assert.Equal(80 * 4096, status.GetProperty("bytes_saved").GetInt64());
        Assert.Equal(
            status.GetProperty("bytes_saved").GetInt64() - status.GetProperty("metadata_bytes").GetInt64(),
            status.GetProperty("profit_bytes").GetInt64());
        JsonElement domain = Assert.Single(status.GetProperty("domains").EnumerateArray());
        Assert.Equal("d", domain.GetProperty("name").GetString());
        Assert.Equal(2, domain.GetProperty("targets").GetInt32());
        AssertWhole(
            domain, "targets", "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile", "zero_pages",
            "bytes_saved");
    }

    [Fact]
    public async Task StatusShowsHowLongTargetsWereStopped()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        daemon.Targets.Stops = new Samepage.StopTimes(3, 90, 400, 512.5, [new(128, 2), new(1024, 1)]);
        JsonElement stops = daemon.Cli("status", "--json").Good().Json.GetProperty("stop_times");
        AssertNames(stops, "count", "p50_microseconds", "p99_microseconds", "max_microseconds", "buckets");
        Assert.Equal(512.5, stops.GetProperty("max_microseconds").GetDouble());
        JsonElement bucket = stops.GetProperty("buckets")[0];
        AssertNames(bucket, "up_to_microseconds", "count");
        Assert.Equal(2, bucket.GetProperty("count").GetInt64());
    }

    [Fact]
    public async Task ListHasEveryFieldOfTheContract()
    {
        var (daemon, first, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        first.SetNotMerged(NotMergedReason.Mlocked, 7);
        daemon.Cli("merge").Good();
        JsonElement list = daemon.Cli("list", "--json").Good().Json;
        AssertNames(list, "targets");
        Assert.Equal(2, list.GetProperty("targets").GetArrayLength());
        JsonElement target = list.GetProperty("targets")[0];
        string[] whole =
        [
            "pid", "regions", "registered_pages", "present_pages", "merged_pages", "zero_pages", "bytes_saved", "vmas",
        ];
        AssertWhole(target, whole);
        AssertNames(target, [.. whole, "name", "domain", "not_merged", "follow_children"]);
        Assert.Equal(first.Pid, target.GetProperty("pid").GetInt32());
        Assert.Equal("d", target.GetProperty("domain").GetString());
        Assert.Equal(64, target.GetProperty("merged_pages").GetInt64());
        Assert.Equal(7, target.GetProperty("not_merged").GetProperty("mlocked").GetInt64());
    }

    [Fact]
    public async Task MergeHasEveryFieldOfTheContract()
    {
        var (daemon, first, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        JsonElement merge = daemon.Cli("merge", "--json").Good().Json;
        AssertNames(
            merge, "pages_merged", "zero_pages", "bytes_saved", "elapsed_seconds", "cpu_seconds", "complete",
            "targets");
        Assert.Equal(128, merge.GetProperty("pages_merged").GetInt64());
        Assert.Equal(16, merge.GetProperty("zero_pages").GetInt64());
        Assert.Equal(80 * 4096, merge.GetProperty("bytes_saved").GetInt64());
        AssertReal(merge, "elapsed_seconds", "cpu_seconds");
        JsonElement target = merge.GetProperty("targets")[0];
        AssertNames(target, "pid", "name", "pages_merged", "zero_pages", "bytes_saved");
        Assert.Equal(first.Pid, target.GetProperty("pid").GetInt32());
        Assert.Equal(64, target.GetProperty("pages_merged").GetInt64());
    }

    [Fact]
    public void DemoHasEveryFieldOfTheContract()
    {
        var demo = new DemoDocument
        {
            Processes = 2,
            Mebibytes = 1,
            PssBeforeBytes = 1,
            PssAfterBytes = 1,
            PssAfterWritesBytes = 1,
            PagesShared = 1,
            PagesSharing = 1,
            ZeroPages = 1,
            ElapsedSeconds = 1,
            CpuSeconds = 1,
            Verified = true,
        };
        JsonElement json = JsonSerializer.SerializeToElement(demo, DemoJson.Default.DemoDocument);
        AssertNames(
            json, "processes", "mebibytes", "pss_before_bytes", "pss_after_bytes", "pss_after_writes_bytes",
            "pages_shared", "pages_sharing", "zero_pages", "elapsed_seconds", "cpu_seconds", "verified");
    }

    [Fact]
    public async Task OtherVerbsPrintOneObjectEach()
    {
        var (daemon, first, second) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("merge").Good();
        AssertNames(
            daemon.Cli("unmerge", "--json").Good().Json, "pages_unmerged", "pages_left", "elapsed_seconds", "targets");
        AssertNames(daemon.Cli("get", "--json").Good().Json, "knobs");
        AssertNames(
            daemon.Cli("get", "run", "--json").Good().Json, "name", "value", "default", "values", "meaning");
        AssertNames(daemon.Cli("set", "run=1", "--json").Good().Json, "knobs");
        AssertNames(daemon.Cli("top", "--json").Good().Json, "status", "targets");
        JsonElement detached = daemon.Cli("detach", $"{first.Pid}", "--json").Good().Json;
        Assert.Equal(1, detached.GetProperty("detached").GetArrayLength());
        Assert.Equal(1, daemon.Cli("detach", "--all", "--json").Good().Json.GetProperty("detached").GetArrayLength());
        JsonElement attached = daemon.Cli("attach", $"{second.Pid}", "--json").Good().Json;
        Assert.Equal(second.Pid, attached.GetProperty("targets")[0].GetProperty("pid").GetInt32());
    }

    private static void AssertNames(JsonElement element, params string[] names) =>
        Assert.Equal(names.Order(), element.EnumerateObject().Select(member => member.Name).Order());

    private static void AssertWhole(JsonElement element, params string[] names) =>
        Assert.All(names, name => Assert.True(element.GetProperty(name).TryGetInt64(out _), name));

    private static void AssertReal(JsonElement element, params string[] names) =>
        Assert.All(names, name => Assert.True(element.GetProperty(name).GetDouble() >= 0, name));
}
