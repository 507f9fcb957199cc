using Samepage.Daemon.Live;
using Samepage.Linux.Keeper;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;
using static Samepage.Linux.Tests.Interception.Asker;

namespace Samepage.Linux.Tests.Interception;

/// <summary>Signals, users, rights, ends and nonsense around commands under <c>samepage run</c>.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class RunUsersTests(RunDaemon daemon) : IClassFixture<RunDaemon>
{
    [Fact]
    public void Signals_restart_calls_or_interrupt_them_and_nothing_else()
    {
        using Asker one = Run(daemon.Live);
        ulong a = one.Filled(8, 1);
        // A signal that comes before the daemon has received the call interrupts it, as it would any call that waits.
        Assert.Equal(new Answer(0, 0), one.Do($"signals {a} 20000 1")); // handler with SA_RESTART
        Answer interrupted = one.Do($"signals {a} 20000 0");
        Assert.Equal(0, interrupted.Errno); // calls that failed otherwise
        Assert.True(interrupted.Result < 20000 / 2, $"{interrupted.Result} of 20000 calls were interrupted");
        Assert.Equal(0, one.Wrong(a, 8, 1));
    }

    [Fact]
    public void Set_user_id_programs_keep_their_rights_and_every_user_has_his_own_domain()
    {
        Assert.SkipUnless(TestPaths.Which("setpriv") is not null, "setpriv is missing (Debian package util-linux)");
        string folder = Directory.CreateTempSubdirectory("samepage-setuid-").FullName;
        try
        {
            File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
            string program = Path.Combine(folder, "asker");
            File.Copy(Asker.Program(), program);
            using Asker nobody = Start(
                LiveDaemon.Program,
                ["run", "--socket", daemon.Live.Socket, "--", "setpriv", "--reuid", "65534", "--regid", "65534",
                    "--clear-groups", program],
                daemon.Live.Log);
            Assert.Equal(new Answer(65534, 65534), nobody.Do("ids"));
            ulong a = nobody.Filled(8, 1);
            Assert.Equal(Answer.Ok, nobody.Advise(a, 8, Merge));
            daemon.Until(() => daemon.Target(nobody.Pid) is not null, "it was not attached");
            Assert.Equal("uid:65534", daemon.Target(nobody.Pid)!.Value.GetProperty("domain").GetString());

            File.SetUnixFileMode(program, UnixFileMode.SetUser | (UnixFileMode)0b111_101_101);
            nobody.Execute();
            Assert.Equal(new Answer(65534, 0), nobody.Do("ids"));
            Assert.Equal(Answer.Ok, nobody.Advise(nobody.Filled(8, 1), 8, Merge));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Who_may_not_use_the_daemon_is_told_so_and_the_command_does_not_start()
    {
        Assert.SkipUnless(TestPaths.Which("setpriv") is not null, "setpriv is missing (Debian package util-linux)");
        string marker = Path.GetTempFileName();
        File.Delete(marker);
        CliResult refused = daemon.Live.Run(
            "setpriv",
            ["--reuid", "65534", "--regid", "65534", "--clear-groups", LiveDaemon.Program, "run", "--socket",
                daemon.Live.Socket, "--", "touch", marker]);
        Assert.Equal(4, refused.Code);
        Assert.StartsWith("samepage: ", refused.Error, StringComparison.Ordinal);
        Assert.Single(refused.Error.TrimEnd('\n').Split('\n'));
        Assert.False(File.Exists(marker));
    }

    [Theory]
    [InlineData("""{"pid":0,"fd":3}""", 400)]
    [InlineData("""{"pid":OWN,"fd":0}""", 400)]
    [InlineData("""{"pid":999999999,"fd":3}""", 404)]
    [InlineData("""{"pid":1,"fd":3,"domain":"a b"}""", 400)]
    [InlineData("""{"pid":1}""", 409)]
    public void Nonsense_is_refused_by_the_daemon(string body, int status)
    {
        body = body.Replace("OWN", $"{Environment.ProcessId}", StringComparison.Ordinal);
        Assert.Equal(
            status, daemon.Live.Refused(HttpMethod.Post, "/v1/runs", body).GetProperty("status").GetInt32());
        daemon.Until(
            () => daemon.Live.Ask(HttpMethod.Get, "/v1/runs").GetProperty("runs").GetArrayLength() == 0,
            "something was added, or the command of another test has not ended");
    }

    [Theory]
    [InlineData("v4", "kernel_pages_allocated", "sleep")]
    [InlineData("merged", "kernel_pages_allocated", "sleep_millisecs")]
    [InlineData("modern", "full_scans", "general_profit")]
    public void The_command_sees_the_admin_files_it_asked_for_and_nobody_else_does(
        string view, string file, string other)
    {
        const string folder = "/sys/kernel/mm/ksm";
        string kernel = File.ReadAllText($"{folder}/pages_to_scan");
        daemon.Live.Ask(HttpMethod.Put, "/v1/knobs/pages_to_scan", """{"value":"4321"}""");
        CliResult inside = daemon.Live.Cli(
            "run", "--admin-view", view, "--", "sh", "-c",
            $"cd {folder} && cat pages_to_scan && ls {file} {other} && echo 1234 > pages_to_scan && "
                + "grep 'ksm ' /proc/self/mounts");
        Assert.True(inside.Code == 0, inside.Error);
        Assert.StartsWith("4321\n", inside.Out, StringComparison.Ordinal);
        Assert.Contains($"{view}@samepage-run {folder}", inside.Out, StringComparison.Ordinal);
        Assert.Equal(
            "1234", daemon.Live.Ask(HttpMethod.Get, "/v1/knobs/pages_to_scan").GetProperty("value").GetString());
        Assert.Equal(kernel, File.ReadAllText($"{folder}/pages_to_scan"));
        Assert.DoesNotContain("samepage-run", File.ReadAllText("/proc/self/mounts"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_command_is_forgotten_when_its_last_process_has_ended()
    {
        CliResult result = daemon.Live.Cli("run", "--", "sh", "-c", "exit 7");
        Assert.Equal(7, result.Code);
        daemon.Until(
            () => daemon.Live.Ask(HttpMethod.Get, "/v1/runs").GetProperty("runs").GetArrayLength() == 0,
            "it is still there");
        using KeeperClient keeper = KeeperClient.TryConnect(KeeperLink.SocketBeside(daemon.Live.Socket))!;
        daemon.Until(() => keeper.List().Kept.Count == 0, "the keeper still holds something of it");
    }
}
