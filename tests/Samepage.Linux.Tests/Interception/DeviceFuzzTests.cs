using System.Globalization;
using Samepage.Linux.Tests.Live;
using static Samepage.Linux.Tests.Interception.Asker;

namespace Samepage.Linux.Tests.Interception;

/// <summary>
/// /dev/ksm under random sequences of calls. SAMEPAGE_SEED=number repeats one sequence.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class DeviceFuzzTests(RunDaemon daemon, ITestOutputHelper output) : IClassFixture<RunDaemon>
{
    private const int Steps = 200;
    private const int AreasMax = 256;

    [Theory]
    [InlineData(2009)]
    [InlineData(420)]
    public void Random_calls_are_answered_and_register_as_the_model_says(int seed)
    {
        seed = Seed(seed);
        using var fuzzer = new DeviceFuzzer(daemon, seed, DeviceFlaw.None);
        fuzzer.Run(Steps);
        output.WriteLine($"seed {seed}: {fuzzer.Seen}");
        // It would be easy to agree on nothing.
        Assert.InRange(fuzzer.Seen.Shared, 30, fuzzer.Seen.Compared - 30);
    }

    [Theory]
    [InlineData(DeviceFlaw.UnknownNumberFails, 2009, "the answer is")]
    [InlineData(DeviceFlaw.ClosingKeepsRegions, 420, "other pages are merged")]
    [InlineData(DeviceFlaw.AddressesRoundUp, 2009, "other pages are merged")]
    public void A_model_that_is_wrong_is_found_out(object flaw, int seed, string how)
    {
        using var fuzzer = new DeviceFuzzer(daemon, seed, (DeviceFlaw)flaw);
        var failure = Assert.ThrowsAny<Xunit.Sdk.XunitException>(() => fuzzer.Run(Steps));
        Assert.Contains($"seed {seed}, step ", failure.Message, StringComparison.Ordinal);
        Assert.Contains(how, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Areas_that_were_closed_do_not_count_for_the_most_there_can_be()
    {
        using Asker one = Run(daemon.Live, "--dev-ksm");
        long ksm = one.Do("open /dev/ksm").Result;
        var areas = new List<long>();
        for (int i = 1; i <= AreasMax; i++)
        {
            areas.Add(NewArea().Result);
            Assert.True(areas[^1] > ksm, $"area {i} could not be made");
        }

        Assert.Equal(Answer.Error(ENOMEM), NewArea());
        foreach (long area in areas[..3])
        {
            // At once: nobody has to wait until the daemon has noticed.
            Assert.Equal(Answer.Ok, one.Do($"close {area}"));
            Assert.Equal(new Answer(area, 0), NewArea());
            Assert.Equal(Answer.Error(ENOMEM), NewArea());
        }

        Answer NewArea() => one.Do($"ioctl {ksm} {DeviceModel.Create} 0");
    }

    [Fact]
    public void All_three_interfaces_used_at_random_lose_no_byte_and_nobody()
    {
        const ulong at = DeviceFuzzer.Base;
        const int pages = 64;
        const string run = "/sys/kernel/mm/ksm/run";
        int seed = Seed(67);
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        int daemonPid = daemon.Live.Pid!.Value;
        using Asker one = Run(daemon.Live, "--dev-ksm");
        using Asker two = Run(daemon.Live);
        // Not merged itself: one that is has to be stopped to un-merge its memory, which ends its own write by EINTR.
        using Asker administrator = Run(daemon.Live, "--admin-view", "modern");
        foreach (Asker asker in (Asker[])[one, two])
        {
            asker.Do($"map anon {at} {pages}");
            asker.Do($"fill {at} {pages} 5");
        }

        two.Advise(at, pages, Merge);
        long area = one.Do($"ioctl {one.Do("open /dev/ksm").Result} {DeviceModel.Create}").Result;
        Assert.Equal(new Answer(1, 0), administrator.Do($"put {run} 1"));
        var sequence = new List<string>();
        for (int step = 0; step < 200; step++)
        {
            ulong start = at + ((ulong)random.Next(pages) * 4096);
            int count = random.Next(1, pages);
            // The end of the mapping is nothing to run over for madvise.
            int inside = Math.Min(count, pages - (int)((start - at) / 4096));
            (string command, Answer expected) = random.Next(20) switch
            {
                < 5 => ($"madvise {start} {inside * 4096} 12", Answer.Ok),
                < 9 => ($"madvise {start} {inside * 4096} 13", Answer.Ok),
                < 13 => ($"region {area} {start} {count}", Answer.Ok),
                13 => ($"ioctl {area} {DeviceModel.Remove}", Answer.Ok),
                14 => ("prctl 67 1", Answer.Ok),
                15 => ("prctl 67 0", Answer.Ok),
                16 => ($"fill {start} {inside} {5000 + step}", Answer.Ok),
                _ => ($"put {run} {random.Next(3)}", new Answer(1, 0)),
            };
            sequence.Add(command);
            Answer answer = (command.StartsWith("put", StringComparison.Ordinal) ? administrator : one).Do(command);
            string story = $"seed {seed}, step {step}: {answer}\n{string.Join('\n', sequence)}";
            Assert.True(answer == expected, story);
            if (command.StartsWith("fill", StringComparison.Ordinal))
            {
                Assert.True(one.Wrong(start, inside, 5000 + step) == 0, story);
                one.Do($"fill {at} {pages} 5");
            }
            else if (step % 10 == 0)
            {
                Assert.True(one.Wrong(at, pages, 5) == 0 && two.Wrong(at, pages, 5) == 0, story);
            }
        }

        // Both are as they should be, and everything still works.
        Assert.Equal(daemonPid, daemon.Live.Pid);
        Assert.Equal(new Answer(1, 0), administrator.Do($"put {run} 2"));
        Assert.Equal(0, PageProof.Shared(one.Frames(at, pages), two.Frames(at, pages)));
        Assert.Equal(new Answer(1, 0), administrator.Do($"put {run} 0"));
        Assert.Equal(Answer.Ok, one.Advise(at, pages, Merge));
        daemon.Merge(pages, one.Pid, two.Pid);
        Assert.Equal(pages, PageProof.Shared(one.Frames(at, pages), two.Frames(at, pages)));
        Assert.Equal(0, one.Wrong(at, pages, 5));
        Assert.Equal(0, two.Wrong(at, pages, 5));
    }

    private static int Seed(int otherwise) =>
        Environment.GetEnvironmentVariable("SAMEPAGE_SEED") is { } text
            ? int.Parse(text, CultureInfo.InvariantCulture)
            : otherwise;
}
