using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Fuse;
using Samepage.Linux.Interop;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;
using KeeperFixture = Samepage.Linux.Tests.Keeper.KeeperFixture;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>Mounting and unmounting by the real executable: what is refused, what a dying daemon leaves, and that
/// nothing stays on the host.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class MountTests : IDisposable
{
    private const int Usage = 2, NotFound = 5, Failed = 1;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly MountedDaemon mounted = new();

    [Fact]
    public void Bad_input_is_refused_in_one_line_and_mounts_nothing()
    {
        int before = FuseMount.List().Count;
        string folder = Path.GetTempPath();
        Refused(mounted.Daemon.Cli("mount", "/no/such/directory"), Usage, "is not a directory");
        Refused(mounted.Daemon.Cli("mount", "/etc/passwd"), Usage, "is not a directory");
        Refused(mounted.Daemon.Cli("mount", folder, "--view", "ancient"), Usage, "ancient");
        Refused(mounted.Daemon.Cli("mount", mounted["v4"]), Failed, "is mounted already");
        Refused(mounted.Daemon.Cli("mount"), Usage, "");
        Refused(mounted.Daemon.Cli("unmount", "/sys"), NotFound, "nothing of ours");
        Refused(mounted.Daemon.Cli("unmount", "/no/such/directory"), NotFound, "nothing of ours");
        string own = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        foreach ((string body, int code, string saying) in ((string, int, string)[])
            [("{}", Usage, "view"), ("""{"view":"modern"}""", Usage, "either path"),
            ("""{"view":"modern","path":"/tmp","pid":1,"fd":1}""", Usage, "either path"),
            ("""{"view":"modern","path":"relative"}""", Usage, "absolute"),
            ("""{"view":"modern","pid":4000000,"fd":1}""", NotFound, "no process"),
            ($$"""{"view":"modern","pid":{{own}},"fd":1000000}""", NotFound, "no descriptor"),
            ($$"""{"view":"modern","pid":{{own}},"fd":-1}""", NotFound, "no descriptor"),
            ($$"""{"view":"modern","pid":{{own}},"fd":0}""", Usage, "/dev/fuse"),
            ($$"""{"view":"../..","pid":{{own}},"fd":0}""", Usage, "no such view")])
        {
            JsonElement problem = mounted.Daemon.Refused(HttpMethod.Post, "/v1/mounts", body);
            Assert.Equal((body, code), (body, problem.GetProperty("exit_code").GetInt32()));
            Assert.Contains(saying, problem.GetProperty("detail").GetString(), StringComparison.Ordinal);
        }

        Assert.Equal(before, FuseMount.List().Count);
        Assert.Equal("1", mounted.Get("modern/run"));
    }

    [Fact]
    public void A_mount_in_use_is_unmounted_only_lazily()
    {
        using RawFile file = RawFile.Open($"{mounted["merged"]}/run", RawFile.ReadOnly);
        Refused(mounted.Daemon.Cli("unmount", mounted["merged"]), Failed, "is in use");
        Assert.Equal("1", mounted.Get("merged/run"));

        MountedDaemon.Good(mounted.Daemon.Cli("unmount", mounted["merged"], "--lazy"));

        Assert.False(File.Exists($"{mounted["merged"]}/run"));
        Assert.Equal(2, mounted.Daemon.Ask(HttpMethod.Get, "/v1/mounts").GetProperty("mounts").GetArrayLength());
        // And again in the same place.
        MountedDaemon.Good(mounted.Daemon.Cli("mount", mounted["merged"], "--view", "merged"));
        Assert.Equal("1", mounted.Get("merged/run"));
        MountedDaemon.Good(mounted.Daemon.Cli("unmount", mounted["merged"]));
    }

    [Fact]
    public void A_symbolic_link_to_a_directory_means_the_directory()
    {
        string link = mounted["link"];
        MountedDaemon.Good(mounted.Daemon.Cli("unmount", mounted["v4"]));
        Directory.CreateSymbolicLink(link, mounted["v4"]);
        try
        {
            MountedDaemon.Good(mounted.Daemon.Cli("mount", link, "--view", "merged"));
            Assert.Equal("20", mounted.Get("v4/sleep_millisecs"));
            Refused(mounted.Daemon.Cli("mount", mounted["v4"]), Failed, "is mounted already");
            MountedDaemon.Good(mounted.Daemon.Cli("unmount", link));
            Assert.Empty(Directory.GetFiles(mounted["v4"]));
        }
        finally
        {
            File.Delete(link);
        }
    }

    [Fact]
    public void Somebody_elses_umount_is_noticed()
    {
        DetachedProcess.Run("umount", [mounted["v4"]]);
        DetachedProcess.WaitUntil(
            () => mounted.Daemon.Ask(HttpMethod.Get, "/v1/mounts").GetProperty("mounts").GetArrayLength() == 2,
            Limit,
            "the daemon still lists it");
        MountedDaemon.Good(mounted.Daemon.Cli("mount", mounted["v4"], "--view", "v4"));
        Assert.Equal("1", mounted.Get("v4/run"));
    }

    [Fact]
    public void A_daemon_that_ends_unmounts_everything()
    {
        using RawFile inUse = RawFile.Open($"{mounted["merged"]}/run", RawFile.ReadOnly);
        DetachedProcess.Run("kill", ["-TERM", mounted.Pid.ToString(CultureInfo.InvariantCulture)]);
        DetachedProcess.WaitUntil(() => DetachedProcess.StartTimeOf(mounted.Pid) == 0, Limit, "the daemon did not end");

        Assert.DoesNotContain(
            FuseMount.List(), mount => mount.Path == mounted["v4"] || mount.Path == mounted["merged"]);
        Assert.Empty(Directory.GetFiles(mounted["modern"]));
        Assert.StartsWith("errno ", inUse.Read(10), StringComparison.Ordinal);
    }

    [Fact]
    public void After_kill_minus_9_the_next_daemon_brings_the_mounts_and_settings_back()
    {
        // A target, so that there is a keeper that starts the next daemon.
        IReadOnlyList<Victim> pair = mounted.StartPair(256);
        MountedDaemon.Good(mounted.Daemon.Cli("merge"));
        Assert.Equal(3, mounted.Put("v4/sleep", "150"));
        int pid = mounted.Pid;
        for (int kill = 0; kill < 3; kill++)
        {
            KeeperFixture.Kill(pid);
            pid = mounted.Daemon.Await(pid, 2, Limit);
            DetachedProcess.WaitUntil(
                () => mounted.Daemon.Ask(HttpMethod.Get, "/v1/mounts").GetProperty("mounts").GetArrayLength() == 3,
                Limit,
                "the mounts did not come back");
            Assert.Equal(
                ("150", "0", "0"), (mounted.Get("v4/sleep"), mounted.Get("merged/run"), mounted.Get("modern/run")));
            Assert.True(mounted.Number("v4/pages_shared") > 100);
        }

        Assert.Equal(3, FuseMount.List().Count(mount => mount.Path.StartsWith(
            Path.GetDirectoryName(mounted["v4"])!, StringComparison.Ordinal)));
        foreach (Victim victim in pair)
        {
            MountedDaemon.Good(mounted.Daemon.Cli("detach", $"{victim.Pid}"));
            Assert.Equal(0, victim.Quit().Report.Errors);
        }
    }

    [Fact]
    public void A_descriptor_handed_over_by_another_process_is_served_until_its_mount_has_gone()
    {
        string folder = Directory.CreateTempSubdirectory("samepage-handed-").FullName;
        try
        {
            using (SafeFileHandle device = FuseMount.MountAt(folder, "handed"))
            {
                mounted.Daemon.Ask(
                    HttpMethod.Post,
                    "/v1/mounts",
                    $$"""{"view":"v4","pid":{{Environment.ProcessId}},"fd":{{(int)device.DangerousGetHandle()}}}""");
            }

            Assert.Equal(RawFile.Text($"{mounted["v4"]}/sleep"), RawFile.Text($"{folder}/sleep"));
            JsonElement list = mounted.Daemon.Ask(HttpMethod.Get, "/v1/mounts").GetProperty("mounts");
            Assert.Contains(list.EnumerateArray(), mount => mount.TryGetProperty("pid", out JsonElement pid)
                && pid.GetInt32() == Environment.ProcessId);
        }
        finally
        {
            Assert.Equal(0, FuseMount.Unmount(folder, lazily: false));
            Directory.Delete(folder);
        }

        DetachedProcess.WaitUntil(
            () => mounted.Daemon.Ask(HttpMethod.Get, "/v1/mounts").GetProperty("mounts").GetArrayLength() == 3,
            Limit,
            "the daemon still serves it");
    }

    [Fact]
    public void Reading_goes_on_while_run_2_unmerges_and_a_signal_ends_it_half_way()
    {
        IReadOnlyList<Victim> pair = mounted.StartPair(60_000);
        var slowest = TimeSpan.Zero;
        bool sawHalf = false;
        // On a busy machine the un-merge may be over before the reader is given a CPU.
        for (int attempt = 0; attempt < 40 && !sawHalf; attempt++)
        {
            Assert.Equal(1, mounted.Put("modern/run", "0"));
            MountedDaemon.Good(mounted.Daemon.Cli("merge"));
            sawHalf = UnmergeWatched(ref slowest);
        }

        Assert.True(sawHalf, "no read came in between");
        Assert.Equal(1, mounted.Put("modern/run", "2"));
        Assert.Equal(("0", "0"), (mounted.Get("modern/pages_sharing"), mounted.Get("modern/pages_shared")));
        Assert.True(slowest < TimeSpan.FromSeconds(5), $"a read took {slowest}"); // not a figure, only "not blocked"
        foreach (Victim victim in pair)
        {
            Assert.Equal(0, victim.Quit().Report.Errors);
        }
    }

    public void Dispose() => mounted.Dispose();

    /// <summary>Has another process write run=2 and reads meanwhile; ends it when a read came in between.</summary>
    private bool UnmergeWatched(ref TimeSpan slowest)
    {
        long merged = mounted.Number("modern/pages_sharing");
        Assert.True(merged > 1000, $"{merged} pages merged");
        using DetachedProcess writer = DetachedProcess.Start(
            "/bin/sh", ["-c", $"exec dd if=/dev/stdin of={mounted["modern"]}/run bs=1 count=1 conv=notrunc"]);
        writer.Send("2");
        bool sawHalf = false;
        while (writer.IsAlive && !sawHalf)
        {
            var watch = Stopwatch.StartNew();
            long now = mounted.Number("modern/pages_sharing");
            slowest = watch.Elapsed > slowest ? watch.Elapsed : slowest;
            sawHalf = now > 0 && now < merged;
        }

        if (sawHalf)
        {
            // It may have ended just now.
            DetachedProcess.Run("sh", ["-c", $"kill -TERM {writer.Pid} 2>/dev/null || true"]);
        }

        if (writer.WaitForExit(Limit) != 0)
        {
            // Interrupted: run is 0, as with the kernel's KSM, and what was not un-merged is merged still.
            Assert.Equal("0", mounted.Get("modern/run"));
            Assert.InRange(mounted.Number("modern/pages_sharing"), 1, merged - 1);
        }

        return sawHalf;
    }

    private static void Refused(CliResult result, int code, string saying)
    {
        Assert.Equal((code, ""), (result.Code, result.Out));
        Assert.Contains(saying, result.Error, StringComparison.Ordinal);
        Assert.Single(result.Error.TrimEnd('\n').Split('\n'));
    }
}
