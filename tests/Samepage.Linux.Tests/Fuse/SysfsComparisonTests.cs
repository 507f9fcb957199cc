using System.Globalization;
using System.Text;
using Samepage.Linux.Tests.Live;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>
/// Goal: the modern view behaves as the kernel's own directory. Method: the same system calls on both, and the results
/// compared; the kernel's settings are put back. Where ours differs on purpose is listed in
/// <see cref="OnPurpose"/> and in docs/ksm-interfaces.md.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class SysfsComparisonTests(AdminMountsFixture shared) : IClassFixture<AdminMountsFixture>, IDisposable
{
    private const string Real = "/sys/kernel/mm/ksm";

    // Left alone there: run (others' merged pages), and what only reading is compared of.
    private static readonly string[] Writable =
    [
        "sleep_millisecs", "max_page_sharing", "stable_node_chains_prune_millisecs", "use_zero_pages", "smart_scan",
        "advisor_max_cpu", "advisor_min_pages_to_scan", "advisor_max_pages_to_scan", "advisor_target_scan_time",
        "advisor_mode", "pages_to_scan",
    ];

    private static readonly string[] Junk =
    [
        "", "\n", "0", "1", "2", "1\n", "2\n\n", " 3", "+4\n", "-1", "5 ", "6\0", "7\0x", "0x10", "010\n", "1e3", "1.5",
        "4294967295", "4294967296\n", "2147483647", "2147483648", "-2147483648", "-+5", "+-5", "18446744073709551615",
        "18446744073709551616", "99999999999999999999999999", "9999999999999999999999x", "x", "++1", "+", "-", "2\n3\n",
        "28\r\n", "\u00ff\u00fe\u0080", "y", "n", "Y\n", "on", "off", "oN", "yes", "true", "T", "f", "o", "1xx",
        "enable", "d", "none", "none\n", "none\n\n", "none ", "NONE", "scan-time", "scan-time\n", "scan", "scan-timex",
        "[none] scan-time",
    ];

    private readonly MountedDaemon mounted = shared.Get();
    private readonly Dictionary<string, string> before = Settings();

    /// <summary>merge_across_nodes: one tree is all there is. cpu is an advisor of ours, of which the kernel knows
    /// nothing.</summary>
    private static bool OnPurpose(string file, string text) =>
        file == "merge_across_nodes" && text.Trim('\n', '+') == "0";

    [Fact]
    public void The_names_modes_and_sizes_are_the_kernels()
    {
        string ours = Listing(mounted["modern"]);
        Assert.Equal(Listing(Real), ours);
        Assert.Equal(24, ours.Split('\n').Length - 1);
    }

    [Fact]
    public void Every_file_answers_good_and_bad_writes_like_the_kernels()
    {
        var differences = new StringBuilder();
        // A write that is good there changes what later ones give (EBUSY never: nobody shares in either).
        Equalize();
        foreach (string file in Writable.Append("merge_across_nodes").Append("run").Append("pages_shared"))
        {
            foreach (string text in Junk.Where(
                text => !OnPurpose(file, text) && !(file == "run" && StartsOrStops(text))))
            {
                string real = WriteAndRead(Real, file, text), ours = WriteAndRead(mounted["modern"], file, text);
                if (real != ours)
                {
                    differences.AppendLine(CultureInfo.InvariantCulture, $"{file} {text}: {real} / {ours}");
                }
            }
        }

        Assert.Equal("", differences.ToString());
    }

    [Fact]
    public void Positions_lengths_and_flags_of_reads_and_writes_mean_what_they_mean_there()
    {
        Equalize();
        foreach (Func<string, string> sequence in Sequences())
        {
            string real = sequence(Real);
            Assert.Equal(real, sequence(mounted["modern"]));
        }
    }

    /// <summary>The real directory is the model of random sequences of calls on several descriptors.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Random_sequences_of_calls_give_the_same_on_both(int seed)
    {
        Equalize();
        var here = new Descriptors(Real);
        var there = new Descriptors(mounted["modern"]);
        var random = new Random(seed);
        var script = new List<string>();
        for (int i = 0; i < 1500; i++)
        {
            Step step = Step.Choose(random);
            string real = here.Do(step), ours = there.Do(step);
            script.Add($"{step} -> {real}");
            Assert.True(
                real == ours, $"seed {seed}, call {i}: {real} / {ours}\n{string.Join('\n', script.TakeLast(20))}");
        }

        here.Close();
        there.Close();
    }

    public void Dispose()
    {
        foreach ((string file, string text) in before)
        {
            if (Settings().GetValueOrDefault(file) != text)
            {
                _ = RawFile.Put($"{Real}/{file}", file == "advisor_mode" ? Chosen(text) : text);
            }
        }

        Assert.Equal(before, Settings());
    }

    private static bool StartsOrStops(string text) => text.Trim('\n', '+').TrimStart('0') is "1" or "2"
        || text.StartsWith("6\0", StringComparison.Ordinal);

    private static string Chosen(string advisors) => advisors.StartsWith('[') ? "none" : "scan-time";

    private static Dictionary<string, string> Settings()
    {
        Assert.SkipUnless(File.Exists($"{Real}/smart_scan"), "this kernel has no KSM of 6.8 or later to compare with");
        Assert.SkipUnless(
            RawFile.Text($"{Real}/run") == "0" && RawFile.Text($"{Real}/pages_shared") == "0",
            "the kernel's KSM is in use");
        return Writable.ToDictionary(file => file, file => RawFile.Text($"{Real}/{file}"));
    }

    private void Equalize()
    {
        Assert.Equal(1, mounted.Put("modern/run", "0"));
        foreach (string directory in (string[])[Real, mounted["modern"]])
        {
            foreach ((string file, string text) in ((string, string)[])
                [("advisor_mode", "scan-time"), ("advisor_mode", "none"), ("sleep_millisecs", "20"),
                ("max_page_sharing", "256"), ("stable_node_chains_prune_millisecs", "2000"), ("use_zero_pages", "0"),
                ("smart_scan", "1"), ("advisor_max_cpu", "70"), ("advisor_min_pages_to_scan", "500"),
                ("advisor_max_pages_to_scan", "30000"), ("advisor_target_scan_time", "200"), ("pages_to_scan", "100")])
            {
                Assert.Equal(text.Length, RawFile.Put($"{directory}/{file}", text));
            }
        }
    }

    private static string WriteAndRead(string directory, string file, string text)
    {
        string result = RawFile.Put($"{directory}/{file}", text).ToString(CultureInfo.InvariantCulture);
        return $"{result} {RawFile.Text($"{directory}/{(file == "run" ? "sleep_millisecs" : file)}")} "
            + RawFile.Text($"{directory}/pages_to_scan");
    }

    private static string Listing(string directory)
    {
        var text = new StringBuilder();
        foreach (string path in Directory.EnumerateFiles(directory).Order(StringComparer.Ordinal))
        {
            var file = new FileInfo(path);
            text.Append(CultureInfo.InvariantCulture, $"{file.Name} {file.UnixFileMode} {file.Length} ")
                .Append(CultureInfo.InvariantCulture, $"{RawFile.Access(path, 4)} {RawFile.Access(path, 2)} ")
                .AppendLine(RawFile.Access(path, 1));
        }

        return text.ToString();
    }

    /// <summary>What a shell, an editor or a careless program may do, one after the other.</summary>
    private static IEnumerable<Func<string, string>> Sequences()
    {
        static byte[] Bytes(string text) => Encoding.Latin1.GetBytes(text);
        static string With(string path, int flags, params Func<RawFile, string>[] calls)
        {
            using RawFile? file = RawFile.Open(path, flags, out int errno);
            return file is null ? $"open: errno {errno}" : string.Join(" | ", calls.Select(call => call(file)));
        }

        yield return at => With($"{at}/pages_shared", RawFile.WriteOnly);
        yield return at => With($"{at}/pages_shared", RawFile.ReadWrite);
        yield return at => With($"{at}/pages_shared", RawFile.ReadOnly | RawFile.Truncate);
        yield return at => With($"{at}/sleep_millisecs", RawFile.ReadOnly | RawFile.Direct);
        yield return at => With($"{at}/nosuchfile", RawFile.ReadOnly);
        yield return at => With($"{at}/nosuchfile", RawFile.WriteOnly | RawFile.Create);
        yield return at => With($"{at}/run", RawFile.WriteOnly | RawFile.Create | RawFile.Exclusive);
        yield return at => With($"{at}/run/below", RawFile.ReadOnly);
        yield return at => With(
            $"{at}/sleep_millisecs", RawFile.ReadOnly, f => f.Read(1), f => f.Read(1), f => f.Read(100),
            f => f.Read(100),
            f => f.ReadAt(2, 1), f => f.ReadAt(1, 3), f => f.ReadAt(5, 4096), f => f.ReadAt(5, 50000),
            f => f.Seek(0, 0),
            f => f.Read(0), f => f.Read(10), f => f.Seek(0, 2), f => f.Read(10), f => f.Seek(-1, 0),
            f => f.Seek(-2, 1));
        yield return at => With(
            $"{at}/sleep_millisecs", RawFile.ReadWrite, f => f.Read(1), f => f.Wrote(Bytes("37")), f => f.Seek(0, 1),
            f => f.Read(10), f => f.Seek(0, 0), f => f.Read(10), f => f.WroteAt(Bytes("4"), 5000), f => f.ReadAt(10, 0),
            f => f.Wrote(Bytes("junk")), f => f.ReadAt(10, 0), f => f.SetSize(3), f => f.ReadAt(10, 0));
        yield return at => With(
            $"{at}/sleep_millisecs", RawFile.WriteOnly, f => f.Wrote(Bytes("3")), f => f.Wrote(Bytes("5")),
            f => f.Read(1));
        yield return at => With($"{at}/sleep_millisecs", RawFile.WriteOnly | RawFile.Append,
            f => f.Wrote(Bytes("36\n")));
        yield return at => With($"{at}/sleep_millisecs", RawFile.WriteOnly | RawFile.Truncate,
            f => f.Wrote(Bytes("21")));
        yield return at => RawFile.TruncateTo($"{at}/sleep_millisecs", 0) + RawFile.TruncateTo($"{at}/pages_shared", 7);
        // A page of a write counts, the rest is for another write.
        foreach (int length in (int[])[4095, 4096, 4097, 8192, 10000, 70000])
        {
            yield return at => With(
                $"{at}/sleep_millisecs", RawFile.WriteOnly, f => f.Wrote(Bytes(new string('0', length - 1) + "6")))
                + RawFile.Text($"{at}/sleep_millisecs");
            yield return at => With(
                $"{at}/sleep_millisecs", RawFile.WriteOnly, f => f.Wrote(Bytes("7\n" + new string(' ', length))),
                f => f.Wrote(Bytes("8\0" + new string(' ', length)))) + RawFile.Text($"{at}/sleep_millisecs");
        }

        // A reader half way sees the state it began with; one that starts over sees the new one.
        yield return at => With(
            $"{at}/sleep_millisecs",
            RawFile.ReadOnly,
            _ => $"{RawFile.Put($"{at}/sleep_millisecs", "4444")}",
            f => f.Read(1),
            _ => $"{RawFile.Put($"{at}/sleep_millisecs", "77")}",
            f => f.Read(10), f => f.Read(10), f => f.ReadAt(10, 0), f => f.ReadAt(10, 1));
    }

    private sealed record Step(int Kind, int Slot, string File, int Count, long Offset, string Text)
    {
        private static readonly string[] Names =
            [.. Writable.Where(file => file is not "advisor_mode"), "merge_across_nodes"];

        public static Step Choose(Random random)
        {
            string file = Names[random.Next(Names.Length)];
            string text = random.Next(3) switch
            {
                0 => Junk[random.Next(Junk.Length)],
                1 => $"{random.Next(2, 400)}\n",
                _ => Encoding.Latin1.GetString(
                    [.. Enumerable.Range(0, random.Next(1, 8)).Select(_ => (byte)random.Next(256))]),
            };
            return new Step(
                random.Next(8),
                random.Next(4),
                file,
                random.Next(random.Next(4) == 0 ? 5000 : 6),
                random.Next(4) == 0 ? random.Next(10_000) : random.Next(5),
                OnPurpose("merge_across_nodes", text) ? "1" : text);
        }
    }

    private sealed class Descriptors(string directory)
    {
        private readonly RawFile?[] open = new RawFile?[4];

        public string Do(Step step)
        {
            byte[] data = Encoding.Latin1.GetBytes(step.Text);
            RawFile? file = open[step.Slot];
            return step.Kind switch
            {
                0 or 1 => Reopen(step),
                2 => file?.Read(step.Count) ?? "-",
                3 => file?.ReadAt(step.Count, step.Offset) ?? "-",
                4 => file?.Wrote(data) ?? "-",
                // On a descriptor for reading, the kernel's files say ESPIPE, every other file and ours EBADF.
                5 => (file?.WroteAt(data, step.Offset) ?? "-").Replace("errno 29", "errno 9", StringComparison.Ordinal),
                6 => file?.Seek(step.Offset, step.Count % 3 == 1 ? 0 : step.Count % 3) ?? "-",
                _ => RawFile.Text($"{directory}/{step.File}"),
            };
        }

        public void Close() => Array.ForEach(open, file => file?.Dispose());

        private string Reopen(Step step)
        {
            open[step.Slot]?.Dispose();
            int flags = (step.Count % 3) | (step.Offset % 2 == 0 ? RawFile.Truncate : 0);
            open[step.Slot] = RawFile.Open($"{directory}/{step.File}", flags, out int errno);
            return $"errno {errno}";
        }
    }
}
