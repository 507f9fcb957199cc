using System.Globalization;
using Samepage.Linux.Tests.Live;
using static Samepage.Linux.Tests.Interception.Asker;

namespace Samepage.Linux.Tests.Interception;

/// <summary>
/// Goal: what a program under <c>samepage run</c> is answered is what the kernel answers. Method: the same calls are
/// made by a second process that is not under it, with the same mappings at the same addresses, and the answers
/// compared. The kernel's KSM is off (run is 0), so it marks and never merges.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class KernelAnswersTests(RunDaemon daemon, ITestOutputHelper output) : IClassFixture<RunDaemon>
{
    private const ulong Base = 0x2000_0000_0000;
    private const int Window = 64;

    private static readonly string[] EdgeCases =
    [
        "madvise 0x200000000001 4096 12",
        "madvise 0x200000000800 0 13",
        "madvise 0x200000000000 0 12",
        "madvise 0 0 12",
        "madvise 0 4096 12",
        "madvise 0x200000000000 1 12",
        "madvise 0x200000000000 4097 12",
        "madvise 0x200000000000 -1 12",
        "madvise 0x200000000000 -4095 13",
        "madvise 0x200000000000 -4096 12",
        "madvise 0x200000000000 0x7fffffffffffffff 12",
        "madvise -4096 4096 12",
        "madvise -4096 8192 12",
        "madvise 0xffffffffff600000 4096 12",
        "madvise 0x7ffffffff000 4096 13",
        "madvise 0x7ffffffff000 1000000000 13",
        "madvise 0x200000000000 4096 0x10000000c",
        "madvise 0x200000000000 4096 26",
        "prctl 67 1 1",
        "prctl 67 1 0 1",
        "prctl 67 1 0 0 1",
        "prctl 67 0 0 0 0",
        "prctl 68 1",
        "prctl 68 0 1",
        "prctl 68 0 0 0 1",
        "prctl 68",
        "prctl 0x100000043 0 1",
    ];

    [Fact]
    public void Calls_at_the_edges_are_answered_as_the_kernel_does()
    {
        using Asker kernel = Alone();
        using Asker ours = Run(daemon.Live);
        Map(kernel);
        Map(ours);
        foreach (string command in EdgeCases)
        {
            Answer expected = kernel.Do(command);
            Assert.True(expected == ours.Do(command), $"{command}: the kernel says {expected}");
        }
    }

    [Fact]
    public void Random_calls_are_answered_as_the_kernel_does()
    {
        int seed = Environment.GetEnvironmentVariable("SAMEPAGE_SEED") is { } text
            ? int.Parse(text, CultureInfo.InvariantCulture)
            : 20091218;
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using Asker kernel = Alone();
        using Asker ours = Run(daemon.Live);
        Map(kernel);
        Map(ours);
        for (int step = 0; step < 600; step++)
        {
            string command = RandomCommand(random);
            Answer expected = kernel.Do(command);
            Assert.True(
                expected == ours.Do(command), $"seed {seed}, step {step}: {command}: the kernel says {expected}");
            if (step % 50 == 49)
            {
                Compare(kernel, ours, $"seed {seed}, step {step}");
            }
        }
    }

    /// <summary>What the kernel has marked (VmFlags mg) must be what the daemon has registered.</summary>
    private void Compare(Asker kernel, Asker ours, string where)
    {
        if (kernel.Do($"prctl {GetAll}").Result == 1)
        {
            return; // then everything else of the process is registered as well
        }

        long marked = 0, last = -1;
        foreach (string line in File.ReadLines($"/proc/{kernel.Pid}/smaps"))
        {
            if (line.Split(' ')[0].Split('-') is [var start, var end] && ulong.TryParse(
                start, NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong from))
            {
                last = (long)(ulong.Parse(end, NumberStyles.HexNumber, CultureInfo.InvariantCulture) - from) / 4096;
            }
            else if (line.StartsWith("VmFlags:", StringComparison.Ordinal) && line.Split(' ').Contains("mg"))
            {
                marked += last;
            }
        }

        long registered = -1;
        daemon.Until(
            () =>
            {
                registered = daemon.Target(ours.Pid)?.GetProperty("registered_pages").GetInt64() ?? 0;
                return registered == marked;
            },
            $"{where}: the kernel has marked {marked} pages, registered are {registered}");
    }

    private static string RandomCommand(Random random)
    {
        ulong page = (ulong)random.Next(-2, Window + 2);
        ulong at = Base + (page * 4096);
        int pages = random.Next(0, Window);
        int length = (pages * 4096) - (random.Next(4) == 0 && pages > 0 ? random.Next(4096) : 0);
        return random.Next(20) switch
        {
            < 7 => $"madvise {at} {length} {Merge}",
            < 12 => $"madvise {at} {length} {Unmerge}",
            12 => $"madvise {at + (ulong)random.Next(4096)} {length} {Merge}",
            13 => $"prctl {SetAll} {random.Next(2)} {(random.Next(8) == 0 ? 1 : 0)}",
            14 => $"prctl {GetAll}",
            15 => $"child prctl {GetAll}",
            16 => $"thread madvise {at} {length} {random.Next(Merge, Unmerge + 1)}",
            17 => $"child madvise {at} {length} {random.Next(Merge, Unmerge + 1)}",
            18 => $"madvise {at} {length} {random.Next(Merge, Unmerge + 1)}",
            _ => $"prctl {SetAll} 0",
        };
    }

    // Anonymous memory with holes and with a part that is shared, which KSM passes over.
    private static void Map(Asker asker)
    {
        foreach ((string kind, int from, int pages) in ((string, int, int)[])
            [("anon", 0, 10), ("anon", 12, 20), ("shared", 32, 6), ("anon", 38, 10), ("anon", 50, 14)])
        {
            ulong at = Base + ((ulong)from * 4096);
            Assert.Equal((long)at, asker.Do($"map {kind} {at} {pages}").Result);
        }
    }
}
