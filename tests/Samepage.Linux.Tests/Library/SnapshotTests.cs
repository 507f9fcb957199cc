using System.Globalization;
using Samepage.Linux.Tests.Live;

namespace Samepage.Linux.Tests.Library;

/// <summary>
/// The snapshot sample: only what page events say decides which pages it reads and writes once, so a wrong or missing
/// event would be a wrong byte.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class SnapshotTests(ITestOutputHelper output)
{
    private const int Mebibytes = 4;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_snapshot_writes_each_shared_page_once_and_every_byte_is_the_processes()
    {
        using var daemon = new LiveDaemon();
        daemon.Start();
        _ = daemon.Await(0, 0, Limit);
        _ = daemon.Ask(HttpMethod.Put, "/v1/knobs/run", """{"value":"0"}""");
        using var client = new SamepageClient(daemon.Socket);
        using var first = new LibraryWorker(daemon, Mebibytes);
        using var second = new LibraryWorker(daemon, Mebibytes);
        using var third = new LibraryWorker(daemon, Mebibytes);
        LibraryWorker[] workers = [first, second, third];
        _ = await client.MergeAsync(cancel: Cancel);
        // Written after the last pass: the daemon knows nothing of it until the snapshot asks.
        _ = first.Ask("write 4 1111", "written");
        _ = second.Ask("write 9 2222", "written");

        string file = Path.Combine(Path.GetDirectoryName(daemon.Socket)!, "snapshot");
        CliResult taken = daemon.Run(LibraryWorker.Example("Snapshot"),
            ["write", file, "--socket", daemon.Socket, "--keep-stopped", .. workers.Select(worker => worker.Pid.ToString(CultureInfo.InvariantCulture))]);
        Assert.True(taken.Code == 0, taken.Error + daemon.LogTail);
        output.WriteLine(taken.Out);
        CliResult verified = daemon.Run(LibraryWorker.Example("Snapshot"), ["verify", file]);
        Assert.True(verified.Code == 0, verified.Error);
        output.WriteLine(verified.Out);

        Dictionary<string, long> counts = taken.Out.Trim().Split(' ').Select(word => word.Split('='))
            .ToDictionary(pair => pair[0], pair => long.Parse(pair[1], CultureInfo.InvariantCulture));
        StatusDocument status = await client.GetStatusAsync(Cancel);
        Assert.Equal(status.PagesShared, counts["shared_once"]);
        Assert.Equal(status.PagesShared + status.PagesSharing, counts["shared"]);
        long pages = (counts["private"] + counts["shared_once"]) * PageSize.Bytes;
        Assert.InRange(counts["file_bytes"] - pages, 1, 16 * (counts["private"] + counts["zero"] + counts["shared"] + 10));
        Assert.True(counts["shared"] > 2 * Mebibytes * 256, "too little is shared to show anything");

        // One byte changed in a stopped process, and the verification has to see it.
        await Poke(first.Pid, first.Memory.StartAddress + 12345);
        verified = daemon.Run(LibraryWorker.Example("Snapshot"), ["verify", file]);
        Assert.Equal(1, verified.Code);
        Assert.Contains("differs", verified.Error, StringComparison.Ordinal);
        await Poke(first.Pid, first.Memory.StartAddress + 12345);
        foreach (LibraryWorker worker in workers)
        {
            Support.DetachedProcess.Run("kill", ["-CONT", worker.Pid.ToString(CultureInfo.InvariantCulture)]);
            worker.Check();
        }
    }

    private static async Task Poke(int pid, ulong address)
    {
        await using var memory = new FileStream($"/proc/{pid}/mem", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, 0);
        memory.Seek((long)address, SeekOrigin.Begin);
        byte[] one = new byte[1];
        await memory.ReadExactlyAsync(one, Cancel);
        memory.Seek((long)address, SeekOrigin.Begin);
        await memory.WriteAsync(new[] { (byte)(one[0] ^ 1) }, Cancel);
    }
}
