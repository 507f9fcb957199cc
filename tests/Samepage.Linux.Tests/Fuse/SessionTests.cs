using System.Diagnostics;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Fuse;
using Samepage.Linux.Interop;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>A mount served by this process, used by others: waiting writers, signals, the end of a mount.</summary>
public sealed class SessionTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private readonly string folder;
    private readonly TextDirectory texts = new();
    private readonly FuseSession session;
    private readonly SafeFileHandle copy;
    private readonly DetachedProcess guard;

    public SessionTests()
    {
        Puppet.SkipUnlessRoot();
        Assert.SkipUnless(File.Exists("/dev/fuse"), "needs /dev/fuse (modprobe fuse)");
        folder = Directory.CreateTempSubdirectory("samepage-fuse-").FullName;
        // This process uses the mount that it serves: were it killed in between, it would wait for itself for ever, in
        // the kernel. Aborting the connection from outside ends that.
        guard = DetachedProcess.Start("/bin/sh", ["-c", $"sleep 90; umount -f {folder}; umount -l {folder}"]);
        SafeFileHandle device = FuseMount.MountAt(folder, "test");
        using SafeFileHandle own = Pidfd.Open(Environment.ProcessId);
        copy = Pidfd.GetDescriptor(own, (int)device.DangerousGetHandle());
        session = new FuseSession(device, texts);
    }

    private bool IsMounted => FuseMount.List().Any(mount => mount.Path == folder);

    [Fact]
    public void A_writer_that_waits_does_not_hold_up_readers_or_other_writers()
    {
        using DetachedProcess writer = Start("echo a > slow");
        Await(() => texts.Waiting == 1);

        Assert.Equal("fixed", RawFile.Text($"{folder}/fixed"));
        Assert.Equal(2, RawFile.Put($"{folder}/kept", "b\n"));
        Assert.Equal("b", RawFile.Text($"{folder}/kept"));
        Assert.Equal("fixed", RawFile.Text($"{folder}/slow"));
        Assert.True(writer.IsAlive);

        texts.LetGo();
        Assert.Equal(0, writer.WaitForExit(Limit));
        Assert.Equal("a", RawFile.Text($"{folder}/kept"));
    }

    [Theory]
    [InlineData("TERM")]
    [InlineData("KILL")]
    public void A_signal_gets_a_waiting_writer_out(string signal)
    {
        using DetachedProcess writer = Start("exec dd if=/dev/zero of=slow bs=10 count=1 conv=notrunc");
        Await(() => texts.Waiting == 1);

        DetachedProcess.Run("kill", [$"-{signal}", writer.Pid.ToString(CultureInfo.InvariantCulture)]);

        Assert.NotEqual(0, writer.WaitForExit(Limit));
        // The file is free for others.
        texts.LetGo();
        Assert.Equal(2, RawFile.Put($"{folder}/slow", "c\n"));
    }

    [Fact]
    public void Unmounting_ends_the_session_and_lets_waiting_writers_go()
    {
        Assert.Equal("first", RawFile.Text($"{folder}/kept"));
        Assert.Equal(0, FuseMount.Unmount(folder, lazily: false));

        Await(() => session.Ended.IsCompleted);
        Assert.False(IsMounted);
        Assert.False(File.Exists($"{folder}/kept"));
    }

    [Fact]
    public void A_mount_in_use_is_only_unmounted_lazily_and_its_user_goes_on()
    {
        using RawFile file = RawFile.Open($"{folder}/kept", RawFile.ReadWrite);

        Assert.Equal(Errno.EBUSY, FuseMount.Unmount(folder, lazily: false));
        Assert.Equal(0, FuseMount.Unmount(folder, lazily: true));

        Assert.False(IsMounted);
        Assert.Equal("3", file.Wrote("abc"u8.ToArray()));
        Assert.Equal("\"abc\"", file.ReadAt(10, 0));
        Assert.False(session.Ended.IsCompleted);
    }

    [Fact]
    public void Whoever_holds_the_descriptor_can_serve_on_when_the_first_has_gone()
    {
        using RawFile file = RawFile.Open($"{folder}/kept", RawFile.ReadOnly);
        Assert.Equal("\"first\n\"", file.Read(10));

        session.Dispose();
        using DetachedProcess reader = Start("cat fixed");
        using var second = new FuseSession(Duplicate(copy), texts, takenOver: true);

        Assert.Equal(0, reader.WaitForExit(Limit));
        Assert.Equal("fixed", RawFile.Text($"{folder}/fixed"));
        Assert.Equal("\"irst\n\"", file.ReadAt(10, 1));
        Assert.Equal(0, FuseMount.Unmount(folder, lazily: true));
        file.Dispose();
        Await(() => second.Ended.IsCompleted);
    }

    [Fact]
    public void Requests_that_the_first_had_read_and_not_answered_are_answered_by_the_second()
    {
        Assert.SkipUnless(Environment.OSVersion.Version >= new Version(6, 9), "FUSE_NOTIFY_RESEND needs Linux 6.9");
        // A killed daemon answers nothing more; this one hangs.
        using DetachedProcess reader = Start("cat stuck");
        Await(() => texts.Waiting == 1);

        var other = new TextDirectory();
        other.LetGo();
        using var second = new FuseSession(Duplicate(copy), other, takenOver: true);

        Assert.Equal(0, reader.WaitForExit(Limit));
        reader.ReadLine("fixed", Limit);
        Assert.Equal(0, FuseMount.Unmount(folder, lazily: true));
        Await(() => second.Ended.IsCompleted);
    }

    [Fact]
    public void Without_anybody_who_holds_the_descriptor_users_are_told()
    {
        session.Dispose();
        copy.Dispose();

        Assert.Null(RawFile.Open($"{folder}/kept", RawFile.ReadOnly, out int errno));

        Assert.Equal(Errno.ENOTCONN, errno);
        Assert.Equal(0, FuseMount.Unmount(folder, lazily: false));
        Assert.Empty(Directory.GetFiles(folder));
    }

    [Fact]
    public void Users_other_than_root_read_and_do_not_write()
    {
        File.SetUnixFileMode(folder, (UnixFileMode)0x1ED);
        using DetachedProcess writer = Start("setpriv --reuid 65534 --clear-groups sh -c 'cat fixed; echo x > kept'");

        Assert.NotEqual(0, writer.WaitForExit(Limit));
        Assert.Contains("Permission denied", writer.Errors, StringComparison.Ordinal);
        writer.ReadLine("fixed", Limit);
        Assert.Equal("first", RawFile.Text($"{folder}/kept"));

        // sysfs lets root change that, and so does this.
        Assert.Equal("", DetachedProcess.Run("chown", ["65534", $"{folder}/kept"]));
        using DetachedProcess owner = Start("setpriv --reuid 65534 --clear-groups sh -c 'echo y > kept'");
        Assert.Equal(0, owner.WaitForExit(Limit));
        Assert.Equal("y", RawFile.Text($"{folder}/kept"));
        DetachedProcess.Run("chmod", ["444", $"{folder}/kept"]);
        Assert.Equal(-Errno.EACCES, RawFile.Put($"{folder}/kept", "z"));
    }

    public void Dispose()
    {
        if (folder is null)
        {
            return;
        }

        texts.LetGo();
        if (IsMounted)
        {
            _ = FuseMount.Unmount(folder, lazily: true);
        }

        session.Dispose();
        copy.Dispose();
        guard.Dispose();
        Directory.Delete(folder);
    }

    private DetachedProcess Start(string script) =>
        DetachedProcess.Start("/bin/sh", ["-c", $"cd {folder} && {script}"]);

    private static SafeFileHandle Duplicate(SafeFileHandle file)
    {
        using SafeFileHandle own = Pidfd.Open(Environment.ProcessId);
        return Pidfd.GetDescriptor(own, (int)file.DangerousGetHandle());
    }

    private static void Await(Func<bool> isSo)
    {
        var watch = Stopwatch.StartNew();
        while (!isSo())
        {
            Assert.True(watch.Elapsed < Limit, "it did not happen");
            Thread.Sleep(2);
        }
    }
}
