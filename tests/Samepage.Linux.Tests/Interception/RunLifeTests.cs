using Samepage.Daemon.Live;
using Samepage.Linux.Keeper;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;
using static Samepage.Linux.Tests.Interception.Asker;
using DetachedProcess = Samepage.Linux.Tests.Support.DetachedProcess;
using KeeperFixture = Samepage.Linux.Tests.Keeper.KeeperFixture;

namespace Samepage.Linux.Tests.Interception;

/// <summary>What a command under <c>samepage run</c> notices of the daemon's death, of users and of rights.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class RunLifeTests
{
    private const int Pages = 256;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Fact]
    public void Calls_wait_for_the_next_daemon_which_knows_what_was_registered()
    {
        using var daemon = new RunDaemon();
        using Asker one = Run(daemon.Live, "--dev-ksm");
        using Asker two = Run(daemon.Live);
        ulong a = one.Filled(Pages, 1), b = two.Filled(Pages, 1), c = one.Filled(8, 2);
        one.Advise(a, Pages, Merge);
        two.Advise(b, Pages, Merge);
        Assert.Equal(Answer.Ok, two.Do($"prctl {SetAll} 1"));
        long area = one.Do($"ioctl {one.Do("open /dev/ksm").Result} 0xAB01 0").Result;
        Assert.Equal(Answer.Ok, one.Do($"region {area} {c} 8"));
        daemon.Merge(Pages, one.Pid, two.Pid);
        for (int kill = 0; kill < 3; kill++)
        {
            // Calls are on their way while the daemon dies: none is lost, none is answered twice or wrongly.
            one.Send($"storm {a} {Pages}");
            Thread.Sleep(20);
            int pid = daemon.Live.Pid ?? 0;
            KeeperFixture.Kill(pid);
            two.Send($"prctl {GetAll}");
            daemon.Live.Await(pid, 2, Limit);
            Assert.Equal(new Answer(1, 0), two.Receive());
            one.Send("");
            Answer calls = one.Receive();
            Assert.True(calls.Result >= 100);
            Assert.Equal(0, calls.Errno);
        }

        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(Pages + 8, daemon.Target(one.Pid)!.Value.GetProperty("registered_pages").GetInt64());
        Assert.Equal(Answer.Ok, one.Advise(a, Pages, Unmerge));
        Assert.Equal(0, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(new Answer(22, 0), one.Do($"ioctl {area} 0xAB77 0"));
        one.Do($"close {area}");
        daemon.Until(
            () => daemon.Target(one.Pid)!.Value.GetProperty("registered_pages").GetInt64() == 0,
            "the area was not closed");
        Assert.Equal(0, one.Wrong(a, Pages, 1) + one.Wrong(c, 8, 2) + two.Wrong(b, Pages, 1));
    }

    [Fact]
    public void A_killed_keeper_is_replaced_and_without_anybody_calls_fail_with_ENOSYS()
    {
        using var daemon = new RunDaemon();
        using Asker one = Run(daemon.Live);
        ulong a = one.Filled(8, 1);
        Assert.Equal(Answer.Ok, one.Advise(a, 8, Merge));
        string keeperSocket = KeeperLink.SocketBeside(daemon.Live.Socket);
        Assert.True(KeeperSocket.IsServed(keeperSocket, out int keeper));
        KeeperFixture.Kill(keeper);
        daemon.Until(
            () => KeeperSocket.IsServed(keeperSocket, out int next) && next != keeper, "the keeper was not replaced");
        int pid = daemon.Live.Pid ?? 0;
        KeeperFixture.Kill(pid);
        // Answered by the next daemon, which the next keeper has started.
        Assert.Equal(Answer.Ok, one.Advise(a, 8, Merge));
        pid = daemon.Live.Await(pid, 1, Limit);

        // All at once: nobody is left who could hold the listener.
        Assert.True(KeeperSocket.IsServed(keeperSocket, out keeper));
        DescriptorHolder.Find(DescriptorHolder.NameFor(keeperSocket), 0).ForEach(Stop);
        Stop(keeper);
        KeeperFixture.Kill(pid);
        KeeperFixture.Kill(keeper);
        foreach (int holder in DescriptorHolder.Find(DescriptorHolder.NameFor(keeperSocket), 0))
        {
            DescriptorHolder.Kill(holder);
        }

        Assert.Equal(Answer.Error(ENOSYS), one.Advise(a, 8, Merge));
        Assert.Equal(Answer.Error(ENOSYS), one.Do($"prctl {GetAll}"));
        Assert.Equal(0, one.Wrong(a, 8, 1));
    }

    private static void Stop(int pid) => DetachedProcess.Run("kill", ["-STOP", $"{pid}"]);
}
