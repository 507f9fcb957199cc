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
    public void Signals_do_not_interrupt_calls_that_are_being_answered()
    {
        using Asker one = Run(daemon.Live);
        ulong a = one.Filled(8, 1);
        Answer interrupted = one.Do($"signals {a} 20000");
        // Between a call and its receipt a signal can come first, as before any call; none other fails.
        Assert.Equal(0, interrupted.Errno);
        Assert.True(interrupted.Result < 200, $"{interrupted.Result} of 20000 calls were interrupted");
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
    [InlineData("""{"pid":1,"fd":0}""", 400)]
    [InlineData("""{"pid":999999999,"fd":3}""", 404)]
    [InlineData("""{"pid":1,"fd":3,"domain":"a b"}""", 400)]
    [InlineData("""{"pid":1}""", 409)]
    public void Nonsense_is_refused_by_the_daemon(string body, int status)
    {
        using HttpResponseMessage answer = daemon.Live.SendRaw(HttpMethod.Post, "/v1/runs", body);
        string text = answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken).Result;
        Assert.True((int)answer.StatusCode == status, text);
        Assert.Empty(daemon.Live.Ask(HttpMethod.Get, "/v1/runs").GetProperty("runs").EnumerateArray());
    }

    [Fact]
    public void A_command_is_forgotten_when_its_last_process_has_ended()
    {
        CliResult result = daemon.Live.Cli("run", "--", "sh", "-c", "exit 7");
        Assert.Equal(7, result.Code);
        daemon.Until(
            () => daemon.Live.Ask(HttpMethod.Get, "/v1/runs").GetProperty("runs").GetArrayLength() == 0, "it is still there");
        using KeeperClient keeper = KeeperClient.TryConnect(KeeperLink.SocketBeside(daemon.Live.Socket))!;
        Assert.Empty(keeper.List().Kept);
    }
}
