using Samepage.Linux.Tests.Live;
using static Samepage.Linux.Tests.Interception.Asker;

namespace Samepage.Linux.Tests.Interception;

/// <summary>/dev/ksm of 2009, as a program under <c>samepage run --dev-ksm</c> finds it.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class DeviceTests(RunDaemon daemon) : IClassFixture<RunDaemon>
{
    private const int Pages = 256;
    private const int GetVersion = 0xAB00, CreateArea = 0xAB01, Remove = 0xAB21;
    private const int ENOTTY = 25, EBADF = 9, ENOENT = 2;

    [Fact]
    public void Two_programs_of_2009_share_frames_until_their_areas_are_closed()
    {
        using Asker one = Run(daemon.Live, "--dev-ksm");
        using Asker two = Run(daemon.Live, "--dev-ksm");
        ulong a = one.Filled(Pages, 1), b = two.Filled(Pages, 1);
        long area = NewArea(one);
        Assert.Equal(Answer.Ok, one.Do($"region {area} {a} {Pages} 0 0"));
        // The older structure without its last member, and an address inside the first page.
        Assert.Equal(Answer.Ok, two.Do($"region16 {NewArea(two)} {b + 8} {Pages} 7"));
        daemon.Merge(Pages, one.Pid, two.Pid);
        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(Pages * 2, PageProof.PssKilobytes(one.Pid, a, Pages));

        // One copy of the descriptor is left in a child: the area lives on.
        int child = (int)one.Do("keep").Result;
        Assert.Equal(Answer.Ok, one.Do($"close {area}"));
        Thread.Sleep(600);
        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Support.DetachedProcess.Kill(child);
        daemon.Until(
            () => PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)) == 0,
            "closing the area did not un-merge");
        Assert.Equal(0, one.Wrong(a, Pages, 1));
        Assert.Equal(0, two.Wrong(b, Pages, 1));
    }

    [Fact]
    public void Removing_un_merges_before_it_returns_and_a_second_area_is_not_touched()
    {
        using Asker one = Run(daemon.Live, "--dev-ksm");
        using Asker two = Run(daemon.Live, "--dev-ksm");
        ulong a = one.Filled(Pages, 2), b = two.Filled(Pages, 2);
        long first = NewArea(one), second = NewArea(one);
        one.Do($"region {first} {a} {Pages / 2}");
        one.Do($"region {second} {a + (Pages / 2 * 4096)} {Pages / 2}");
        two.Do($"region {NewArea(two)} {b} {Pages}");
        daemon.Merge(Pages, one.Pid, two.Pid);
        Assert.Equal(Answer.Ok, one.Do($"ioctl {first} {Remove} 0"));
        ulong[] frames = one.Frames(a, Pages), others = two.Frames(b, Pages);
        Assert.Equal(0, PageProof.Shared(frames[..(Pages / 2)], others[..(Pages / 2)]));
        Assert.Equal(Pages / 2, PageProof.Shared(frames, others));
        Assert.Equal(Answer.Ok, one.Do($"ioctl {first} {Remove} 0"));
        Assert.Equal(0, one.Wrong(a, Pages, 2));
    }

    [Fact]
    public void Answers_are_the_driver_s()
    {
        using Asker one = Run(daemon.Live, "--dev-ksm");
        long ksm = one.Do("open /dev/ksm").Result;
        Assert.Equal(new Answer(1, 0), one.Do($"ioctl {ksm} {GetVersion} 0"));
        long area = one.Do($"ioctl {ksm} {CreateArea} 0").Result;
        Assert.True(area > ksm);
        Assert.Equal(new Answer(0, 0), one.Do($"getfd {area}")); // not close-on-exec
        ulong a = one.Filled(4, 3);

        // Wrong numbers and wrong descriptors.
        Assert.Equal(Answer.Error(EINVAL), one.Do($"ioctl {ksm} 0xAB77 0"));
        Assert.Equal(Answer.Error(EINVAL), one.Do($"region {ksm} {a} 4"));
        Assert.Equal(Answer.Error(EINVAL), one.Do($"ioctl {ksm} {Remove} 0"));
        Assert.Equal(new Answer(22, 0), one.Do($"ioctl {area} 0xAB77 0")); // its error was positive
        Assert.Equal(new Answer(22, 0), one.Do($"ioctl {area} {GetVersion} 0"));
        Assert.Equal(Answer.Error(EBADF), one.Do($"ioctl 99 {GetVersion} 0"));
        long other = one.Do("open /dev/null").Result;
        // Another device: the kernel's answer.
        Assert.Equal(Answer.Error(ENOTTY), one.Do($"ioctl {other} {GetVersion} 0"));

        // The driver looked at nothing but the pointer.
        Assert.Equal(Answer.Error(EFAULT), one.Do($"ioctl {area} 0x4018AB20 0"));
        Assert.Equal(Answer.Error(EFAULT), one.Do($"ioctl {area} 0x4018AB20 0x7fffffffffff"));
        Assert.Equal(Answer.Error(EFAULT), one.Do($"ioctl {area} 0x4010AB20 -8"));
        Assert.Equal(Answer.Ok, one.Do($"region {area} {a} 0"));
        Assert.Equal(Answer.Ok, one.Do($"region {area} {a} 0xffffffff 9 0xffffffffffffffff"));
        Assert.Equal(Answer.Ok, one.Do($"region {area} {a} 4"));
        Assert.Equal(Answer.Ok, one.Do($"region {area} 0xffffffffffffffff 0xffffffff"));
        Assert.Equal(Answer.Ok, one.Do($"region {area} 0 1"));
        Assert.Equal(Answer.Ok, one.Do($"ioctl {area} {Remove} 0xdead"));
        Assert.Equal(0, one.Wrong(a, 4, 3));
    }

    [Fact]
    public void The_device_is_seen_only_inside_and_nothing_stays_behind()
    {
        Assert.False(File.Exists("/dev/ksm"));
        string mounts = File.ReadAllText("/proc/self/mounts");
        CliResult inside = daemon.Live.Cli(
            "run", "--dev-ksm", "--", "sh", "-c",
            "test -c /dev/ksm && ls /dev && echo x > /dev/null && head -c1 /dev/zero");
        Assert.True(inside.Code == 0, inside.Error);
        Assert.Equal(
            Directory.EnumerateFileSystemEntries("/dev").Select(Path.GetFileName).Append("ksm")
                .Order(StringComparer.Ordinal),
            inside.Out.TrimEnd('\0').TrimEnd('\n').Split('\n').Order(StringComparer.Ordinal));
        Assert.False(File.Exists("/dev/ksm"));
        Assert.Equal(mounts, File.ReadAllText("/proc/self/mounts"));

        using Asker outside = Run(daemon.Live);
        Assert.Equal(Answer.Error(ENOENT), outside.Do("open /dev/ksm"));
    }

    [Fact]
    public void A_nested_run_needs_the_outer_one_to_have_the_device()
    {
        string program = LiveDaemon.Program;
        CliResult without = daemon.Live.Cli(
            "run", "--", program, "run", "--socket", daemon.Live.Socket, "--dev-ksm", "--", "true");
        Assert.Equal(1, without.Code);
        Assert.Contains("without --dev-ksm", without.Error, StringComparison.Ordinal);
        using Asker nested = Start(
            program,
            ["run", "--socket", daemon.Live.Socket, "--dev-ksm", "--", program, "run", "--socket", daemon.Live.Socket,
                "--dev-ksm", "--", Asker.Program()],
            daemon.Live.Log);
        Assert.Equal(new Answer(1, 0), nested.Do($"ioctl {nested.Do("open /dev/ksm").Result} {GetVersion} 0"));
    }

    [Fact]
    public void The_example_programs_run_as_their_comments_say()
    {
        string examples = Path.Combine(Support.TestPaths.Repository, "examples", "c");
        string folder = Directory.CreateTempSubdirectory("samepage-examples-").FullName;
        try
        {
            (string, string[])[] programs = [("ksm2009", ["--dev-ksm"]), ("mergeable", [])];
            foreach ((string name, string[] options) in programs)
            {
                string binary = Path.Combine(folder, name);
                Support.DetachedProcess.Run(
                    "gcc",
                    ["-O2", "-Wall", "-Wextra", "-Werror", "-I", Path.Combine(examples, "../../include"), "-o", binary,
                        Path.Combine(examples, name + ".c")]);
                CliResult result = daemon.Live.Cli(["run", .. options, "--", binary, "4", "1"]);
                Assert.True(result.Code == 0, result.Error);
                Assert.EndsWith("private again, and every page as it was\n", result.Out, StringComparison.Ordinal);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static long NewArea(Asker asker)
    {
        long ksm = asker.Do("open /dev/ksm").Result;
        long area = asker.Do($"ioctl {ksm} {CreateArea} 0").Result;
        Assert.True(area > ksm);
        Assert.Equal(Answer.Ok, asker.Do($"close {ksm}"));
        return area;
    }
}
