using Samepage.Linux.Tests.Live;

namespace Samepage.Linux.Tests.Library;

/// <summary>The library in real processes that know nothing of each other, with the real daemon.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class MergeableMemoryTests(ITestOutputHelper output)
{
    private const int Mebibytes = 4;
    private const int Pages = Mebibytes << 8;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Two_programs_with_the_library_share_equal_pages_and_each_keeps_what_it_writes()
    {
        using LiveDaemon daemon = Started();
        using var client = new SamepageClient(daemon.Socket);
        using var first = new LibraryWorker(daemon, Mebibytes);
        using var second = new LibraryWorker(daemon, Mebibytes);
        Assert.True(first.PssPages >= Pages && second.PssPages >= Pages, $"{first.PssPages} {second.PssPages}");
        Assert.DoesNotContain(Pairs(first, second), pair => pair.First == pair.Second);

        MergeDocument merged = await client.MergeAsync(cancel: Cancel);
        output.WriteLine($"{merged.PagesMerged} pages merged in {merged.ElapsedSeconds:0.00} s; "
            + $"PSS {first.PssPages} + {second.PssPages} of {Pages} pages each");
        // A few pages may be refused for a moment; the kernel's figure has to be near the half for the rest.
        Assert.InRange(first.PssPages + second.PssPages, Pages, Pages * 1.1);
        Assert.True(Pairs(first, second).Count(pair => pair.First == pair.Second && pair.First != 0) >= Pages * 0.9);
        first.Check();
        second.Check();

        _ = first.Ask("write 4 1111", "written");
        _ = second.Ask("write 8 2222", "written");
        first.Check();
        second.Check();
        (ulong First, ulong Second)[] after = [.. Pairs(first, second)];
        Assert.All(Enumerable.Range(0, Pages / 4), i => Assert.NotEqual(after[4 * i].First, after[4 * i].Second));
        Assert.Equal((0, 0), (first.Quit(), second.Quit()));
    }

    [Fact]
    public async Task Disposed_memory_is_gone_at_once_and_with_the_last_of_it_every_trace_of_the_daemon()
    {
        using LiveDaemon daemon = Started();
        using var client = new SamepageClient(daemon.Socket);
        using var first = new LibraryWorker(daemon, Mebibytes);
        using var second = new LibraryWorker(daemon, Mebibytes);
        _ = await client.MergeAsync(cancel: Cancel);
        Assert.True((await client.GetTargetAsync(first.Pid, Cancel)).MergedPages > Pages / 2);

        _ = first.Ask("release", "released");
        Assert.Equal([second.Pid], (await client.GetTargetsAsync(Cancel)).Select(target => target.Pid));
        Assert.DoesNotContain(
            File.ReadLines($"/proc/{first.Pid}/maps"), line => line.Contains("memfd:samepage", StringComparison.Ordinal));
        Assert.DoesNotContain(
            Directory.EnumerateFiles($"/proc/{first.Pid}/fd").Select(path => new FileInfo(path).LinkTarget ?? ""),
            link => link.Contains("userfaultfd", StringComparison.Ordinal)
                || link.Contains("memfd:samepage", StringComparison.Ordinal));
        second.Check();
        Assert.Equal((0, 0), (first.Quit(), second.Quit()));
    }

    [Fact]
    public async Task Registrations_survive_a_killed_daemon()
    {
        using LiveDaemon daemon = Started();
        using var client = new SamepageClient(daemon.Socket);
        using var first = new LibraryWorker(daemon, Mebibytes);
        using var second = new LibraryWorker(daemon, Mebibytes);
        int killed = daemon.Pid!.Value;
        Keeper.KeeperFixture.Kill(killed);
        _ = daemon.Await(killed, 2, Limit); // the keeper starts the next one
        TargetDocument target = await client.GetTargetAsync(first.Pid, Cancel);
        Assert.Equal(Pages, target.RegisteredPages);
        MergeDocument merged = await client.MergeAsync(cancel: Cancel);
        Assert.True(merged.PagesMerged > Pages, $"{merged.PagesMerged} pages merged by the successor");
        first.Check();
        second.Check();
        _ = first.Ask("release", "released");
        Assert.Equal([second.Pid], (await client.GetTargetsAsync(Cancel)).Select(left => left.Pid));
    }

    [Fact]
    public void The_sample_program_runs_as_its_readme_says()
    {
        using LiveDaemon daemon = Started();
        CliResult result = daemon.Run(
            LibraryWorker.Program, ["--socket", daemon.Socket, "--workers", "3", "--mebibytes", "2"]);
        output.WriteLine(result.Out + result.Error);
        Assert.Equal(0, result.Code);
        Assert.Contains("every worker reads its own table", result.Out, StringComparison.Ordinal);
    }

    // Background scanning is off: what is merged is what a test asked for.
    private static LiveDaemon Started()
    {
        var daemon = new LiveDaemon();
        daemon.Start();
        _ = daemon.Await(0, 0, Limit);
        _ = daemon.Ask(HttpMethod.Put, "/v1/knobs/run", """{"value":"0"}""");
        return daemon;
    }

    private static IEnumerable<(ulong First, ulong Second)> Pairs(LibraryWorker first, LibraryWorker second) =>
        first.Frames().Zip(second.Frames());
}
