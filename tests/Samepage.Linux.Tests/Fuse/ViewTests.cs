using System.Diagnostics;
using System.Globalization;
using System.Text;
using Samepage.Linux.Interop;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>What the files of the three views mean: one engine behind all of them, real processes merged.</summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class ViewTests(AdminMountsFixture shared) : IClassFixture<AdminMountsFixture>
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly MountedDaemon mounted = shared.Get();

    [Fact]
    public void Each_view_has_its_names()
    {
        Assert.Equal(
            ["kernel_pages_allocated", "max_kernel_pages", "pages_shared", "pages_to_scan", "run", "sleep"],
            Names("v4"));
        Assert.Equal(
            ["kernel_pages_allocated", "max_kernel_pages", "pages_shared", "pages_to_scan", "run", "sleep_millisecs"],
            Names("merged"));
        Assert.Equal(24, Names("modern").Count());
    }

    [Fact]
    public void What_is_written_in_one_view_is_read_in_the_others()
    {
        Assert.Equal(5, mounted.Put("v4/sleep", "10000"));
        Assert.Equal(("10", "10"), (mounted.Get("merged/sleep_millisecs"), mounted.Get("modern/sleep_millisecs")));
        Assert.Equal(3, mounted.Put("v4/sleep", "150"));
        Assert.Equal(("150", "1"), (mounted.Get("v4/sleep"), mounted.Get("modern/sleep_millisecs")));
        Assert.Equal(3, mounted.Put("modern/sleep_millisecs", "20\n"));
        Assert.Equal("20000", mounted.Get("v4/sleep"));
        Assert.Equal(3, mounted.Put("merged/pages_to_scan", "300"));
        Assert.Equal(("300", "300"), (mounted.Get("v4/pages_to_scan"), mounted.Get("modern/pages_to_scan")));
        Assert.Equal("[none] scan-time", mounted.Get("modern/advisor_mode"));
        Assert.Equal(7, mounted.Put("v4/max_kernel_pages", "4000000"));
        Assert.Equal("4000000", mounted.Get("merged/max_kernel_pages"));
        Assert.Equal(1, mounted.Put("merged/max_kernel_pages", "0"));
        Assert.Equal("0", mounted.Get("v4/max_kernel_pages"));
        CliResult knobs = mounted.Daemon.Cli("get", "pages_to_scan");
        Assert.Contains("300", knobs.Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("x")]
    [InlineData("-1")]
    [InlineData("+1")]
    [InlineData("1 ")]
    [InlineData("\n")]
    [InlineData("0x1")]
    [InlineData("99999999999999999999999")]
    [InlineData("\u0001\u00ff")]
    public void A_bad_write_returns_0_in_v4_and_EINVAL_in_merged_and_changes_nothing(string text)
    {
        string[] before = [.. new[] { "v4", "merged" }.SelectMany(Contents)];
        foreach (string file in (string[])["sleep", "pages_to_scan", "run", "max_kernel_pages"])
        {
            Assert.Equal(0, mounted.Put($"v4/{file}", text));
        }

        foreach (string file in (string[])["sleep_millisecs", "pages_to_scan", "run", "max_kernel_pages"])
        {
            Assert.Equal(-Errno.EINVAL, mounted.Put($"merged/{file}", text));
        }

        Assert.Equal(before, new[] { "v4", "merged" }.SelectMany(Contents));
    }

    [Fact]
    public void V4_takes_the_low_32_bits_and_merged_refuses_what_does_not_fit()
    {
        Assert.Equal(10, mounted.Put("v4/sleep", "4294967297"));
        Assert.Equal("1", mounted.Get("v4/sleep"));
        Assert.Equal(10, mounted.Put("v4/pages_to_scan", "4294967396"));
        Assert.Equal("100", mounted.Get("v4/pages_to_scan"));
        Assert.Equal(-Errno.EINVAL, mounted.Put("merged/pages_to_scan", "4294967396"));
        Assert.Equal(-Errno.EINVAL, mounted.Put("merged/sleep_millisecs", "4294967296"));
        Assert.Equal(-Errno.EINVAL, mounted.Put("merged/run", "3"));
        Assert.Equal(10, mounted.Put("merged/max_kernel_pages", "9999999999"));
        Assert.Equal("9999999999", mounted.Get("v4/max_kernel_pages"));
        Assert.Equal(1, mounted.Put("merged/max_kernel_pages", "0"));
        Assert.Equal(5, mounted.Put("v4/sleep", "20000"));
    }

    [Fact]
    public void Run_of_v4_is_flags_and_2_does_not_unmerge()
    {
        IReadOnlyList<Victim> pair = mounted.StartPair(256);
        MountedDaemon.Good(mounted.Daemon.Cli("merge"));
        long saved = mounted.Number("v4/pages_shared");
        Assert.True(saved > 128, $"{saved} pages saved");

        Assert.Equal(1, mounted.Put("v4/run", "2"));

        Assert.Equal(("2", "0", "0"), (mounted.Get("v4/run"), mounted.Get("merged/run"), mounted.Get("modern/run")));
        Assert.Equal(saved, mounted.Number("v4/pages_shared"));
        Assert.Equal(saved, mounted.Number("merged/pages_shared"));
        Assert.Equal(
            saved, mounted.Number("modern/pages_sharing") + mounted.Number("modern/ksm_zero_pages"));
        Assert.Equal(mounted.Get("modern/pages_shared"), mounted.Get("v4/kernel_pages_allocated"));
        Assert.Equal(1, mounted.Put("v4/run", "7"));
        Assert.Equal(("7", "1"), (mounted.Get("v4/run"), mounted.Get("modern/run")));
        Assert.Equal(1, mounted.Put("merged/run", "0"));
        Assert.Equal("0", mounted.Get("v4/run"));
        Stop(pair);
    }

    [Theory]
    [InlineData("merged")]
    [InlineData("modern")]
    public void Run_2_returns_when_everything_is_unmerged_and_every_counter_is_0(string view)
    {
        IReadOnlyList<Victim> pair = mounted.StartPair(2048);
        for (int round = 0; round < 3; round++)
        {
            MountedDaemon.Good(mounted.Daemon.Cli("merge"));
            Assert.True(mounted.Number("modern/pages_sharing") > 1000);
            Assert.All(pair, victim => Assert.True(PagesOfFiles(victim) > 1000));
            Assert.Equal(-Errno.EBUSY, mounted.Put("modern/max_page_sharing", "100"));

            Assert.Equal(2, mounted.Put($"{view}/run", "2\n"));

            string[] zero =
            [
                "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile", "ksm_zero_pages", "full_scans",
                "stable_node_chains", "stable_node_dups", "general_profit",
            ];
            Assert.All(zero, file => Assert.Equal((file, "0"), (file, mounted.Get($"modern/{file}"))));
            Assert.Equal(("0", "0"), (mounted.Get("v4/pages_shared"), mounted.Get("v4/kernel_pages_allocated")));
            Assert.Equal("2", mounted.Get($"{view}/run"));
            // The kernel's own witness: nothing is mapped from a store any more.
            Assert.All(pair, victim => Assert.Equal(0, PagesOfFiles(victim)));
            Assert.Equal(1, mounted.Put($"{view}/run", "0"));
        }

        Assert.Equal(3, mounted.Put("modern/max_page_sharing", "100"));
        Assert.Equal(3, mounted.Put("modern/max_page_sharing", "256"));
        Stop(pair);
    }

    [Fact]
    public void Run_1_and_a_new_sleep_take_effect_at_once_and_full_scans_stand_still_without_anybody_registered()
    {
        Assert.Equal(1, mounted.Put("modern/run", "1"));
        long scans = mounted.Number("modern/full_scans");
        Thread.Sleep(300);
        Assert.Equal(scans, mounted.Number("modern/full_scans"));

        IReadOnlyList<Victim> pair = mounted.StartPair(512);
        Assert.Equal(4, mounted.Put("modern/pages_to_scan", "5000"));
        long before = mounted.Number("modern/full_scans");
        // A sleep of an hour, which the next write has to end.
        Assert.Equal(7, mounted.Put("modern/sleep_millisecs", "3600000"));
        Assert.Equal(1, mounted.Put("modern/run", "1"));
        Await(() => mounted.Number("modern/full_scans") > before, "run=1 did not wake the scanner");
        Thread.Sleep(200);
        long asleep = mounted.Number("modern/full_scans");
        Thread.Sleep(300);
        Assert.Equal(asleep, mounted.Number("modern/full_scans"));
        Assert.Equal(1, mounted.Put("modern/sleep_millisecs", "1"));
        Await(() => mounted.Number("modern/full_scans") > asleep + 5, "the new sleep did not take effect");
        Await(() => mounted.Number("modern/pages_sharing") > 300, "nothing was merged");
        Assert.Equal(1, mounted.Put("modern/run", "0"));
        scans = mounted.Number("modern/full_scans");
        Thread.Sleep(200);
        Assert.Equal(scans, mounted.Number("modern/full_scans"));
        Assert.Equal(2, mounted.Put("modern/sleep_millisecs", "20"));
        Stop(pair);
    }

    [Fact]
    public void Merge_across_nodes_has_one_value_and_refuses_the_other()
    {
        Assert.Equal("1", mounted.Get("modern/merge_across_nodes"));
        Assert.Equal(2, mounted.Put("modern/merge_across_nodes", "1\n"));
        Assert.Equal(-Errno.EINVAL, mounted.Put("modern/merge_across_nodes", "0\n"));
        Assert.Equal("1", mounted.Get("modern/merge_across_nodes"));
    }

    [Fact]
    public void Our_own_advisor_shows_as_what_it_is_and_steps_back_for_pages_to_scan()
    {
        Assert.Equal(4, mounted.Put("modern/advisor_mode", "cpu\n"));
        Assert.Equal("none scan-time [cpu]", mounted.Get("modern/advisor_mode"));
        Assert.Equal(3, mounted.Put("modern/pages_to_scan", "123"));
        Assert.Equal(
            ("[none] scan-time", "123"), (mounted.Get("modern/advisor_mode"), mounted.Get("modern/pages_to_scan")));
        Assert.Equal(10, mounted.Put("modern/advisor_mode", "scan-time\n"));
        Assert.Equal(-Errno.EINVAL, mounted.Put("modern/pages_to_scan", "123"));
        Assert.Equal(4, mounted.Put("modern/advisor_mode", "none"));
        Assert.Equal("100", mounted.Get("modern/pages_to_scan"));
    }

    [Fact]
    public void Shells_write_in_all_their_ways()
    {
        const string script = """
            set -e
            echo 21 > sleep_millisecs; cat sleep_millisecs
            printf 22 > sleep_millisecs; cat sleep_millisecs
            echo 23 >> sleep_millisecs; cat sleep_millisecs
            echo 24 | tee sleep_millisecs pages_to_scan; cat sleep_millisecs pages_to_scan
            dd if=sleep_millisecs bs=1 2>/dev/null
            cp sleep_millisecs /tmp/samepage-shell-$$; cat /tmp/samepage-shell-$$; rm /tmp/samepage-shell-$$
            grep -H . sleep_millisecs
            sh -c 'echo x > sleep_millisecs' 2>&1 || true
            sh -c 'echo 1 > pages_shared' 2>&1 || true
            sh -c 'echo 1 > nosuchfile' 2>&1 || true
            rm -f run 2>&1 || true
            head -c 1 sleep_millisecs; echo
            tail -n 1 sleep_millisecs
            echo 20 > sleep_millisecs
            """;
        CliResult result = mounted.Daemon.Run("/bin/bash", ["-c", $"cd {mounted["modern"]}; {script}"]);
        string printed = result.Out.ReplaceLineEndings("\n");
        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.StartsWith("21\n22\n23\n24\n24\n24\n24\n24\nsleep_millisecs:24\n", printed, StringComparison.Ordinal);
        Assert.Matches("(?i)invalid argument|I/O error", printed);
        Assert.Contains("pages_shared: Permission denied", printed, StringComparison.Ordinal);
        Assert.Contains("nosuchfile: Permission denied", printed, StringComparison.Ordinal);
        Assert.Contains("Operation not permitted", printed, StringComparison.Ordinal);
        Assert.EndsWith("\n2\n24\n", printed, StringComparison.Ordinal);
    }

    [Fact]
    public void Many_writers_and_readers_at_once_see_only_values_that_were_written()
    {
        Assert.Equal(7, mounted.Put("v4/pages_to_scan", "1111111"));
        var wrong = new System.Collections.Concurrent.ConcurrentBag<string>();
        Parallel.For(0, 8, writer =>
        {
            string[] files = ["v4/pages_to_scan", "merged/pages_to_scan", "modern/pages_to_scan"];
            for (int i = 0; i < 200; i++)
            {
                string text = $"{((writer + 1) * 1111111) % 9999999}";
                if (writer % 2 == 0)
                {
                    long wrote = mounted.Put(files[i % 3], text + "\n");
                    if (wrote != text.Length + 1)
                    {
                        wrong.Add($"{text}: {wrote}");
                    }
                }
                else if (long.Parse(mounted.Get(files[i % 3]), CultureInfo.InvariantCulture) is var read
                    && read % 1111111 != 0)
                {
                    wrong.Add($"read {read}");
                }
            }
        });

        Assert.Empty(wrong);
        Assert.Equal(3, mounted.Put("v4/pages_to_scan", "100"));
    }

    /// <summary>A model of the settings of the 2009 views, driven by random writes to both.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Random_writes_to_the_views_of_2009_leave_what_the_model_says(int seed)
    {
        var random = new Random(seed);
        var model = new Model2009();
        Model2009.WriteAll(mounted);
        string[] words = ["0", "1", "2", "3", "17", "4294967295", "4294967296", "4294967300", "18446744073709551615",
            "18446744073709551616", "-1", "+5", "", "\n", "x", "7\n", "7\n\n", "8\0x", " 9", "\u00ff",
            "000000000000000000000012"];
        for (int i = 0; i < 400; i++)
        {
            string view = random.Next(2) == 0 ? "v4" : "merged";
            string[] files = view == "v4" ? Model2009.FilesOfV4 : Model2009.FilesOfMerged;
            string file = files[random.Next(files.Length)], text = words[random.Next(words.Length)];
            long expected = model.Write(view, file, text);

            long wrote = mounted.Put($"{view}/{file}", text);

            Assert.True(wrote == expected, $"seed {seed}, write {i}: {view}/{file} {text}: {wrote}, not {expected}");
            model.Check(mounted, $"seed {seed}, write {i}: {view}/{file} {text}");
        }

        Assert.Equal(1, mounted.Put("merged/run", "0"));
    }

    private IEnumerable<string> Names(string view) =>
        Directory.EnumerateFiles(mounted[view]).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal);

    private IEnumerable<string> Contents(string view) => Names(view).Select(file => mounted.Get($"{view}/{file}"));

    /// <summary>Pages of the victim's region that are mapped from a file, by its pagemap: merged ones.</summary>
    private static int PagesOfFiles(Victim victim)
    {
        const ulong presentFromFile = (1ul << 63) | (1ul << 61);
        PageRange region = victim.Regions[0];
        using FileStream pagemap = File.OpenRead($"/proc/{victim.Pid}/pagemap");
        pagemap.Position = (long)region.Start * sizeof(ulong);
        var entries = new byte[region.Count * sizeof(ulong)];
        pagemap.ReadExactly(entries);
        int found = 0;
        foreach (ulong entry in System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(entries))
        {
            found += (entry & presentFromFile) == presentFromFile ? 1 : 0;
        }

        return found;
    }

    private void Stop(IReadOnlyList<Victim> pair)
    {
        foreach (Victim victim in pair)
        {
            MountedDaemon.Good(mounted.Daemon.Cli("detach", $"{victim.Pid}"));
            Assert.Equal(0, victim.Quit().Report.Errors);
        }
    }

    private static void Await(Func<bool> isSo, string otherwise)
    {
        var watch = Stopwatch.StartNew();
        while (!isSo())
        {
            Assert.True(watch.Elapsed < Limit, otherwise);
            Thread.Sleep(5);
        }
    }

    /// <summary>sleep in microseconds, pages_to_scan, run and max_kernel_pages as documented.</summary>
    private sealed class Model2009
    {
        public static readonly string[] FilesOfV4 = ["sleep", "pages_to_scan", "run", "max_kernel_pages"];
        public static readonly string[] FilesOfMerged = ["sleep_millisecs", "pages_to_scan", "run", "max_kernel_pages"];
        private ulong sleep, pages, run, flags, max;

        public static void WriteAll(MountedDaemon mounted)
        {
            foreach (string file in FilesOfMerged)
            {
                Assert.Equal(1, mounted.Put($"merged/{file}", "0"));
            }
        }

        public long Write(string view, string file, string text)
        {
            string digits = text.Split('\0')[0];
            digits = digits.EndsWith('\n') ? digits[..^1] : digits;
            bool isNumber = ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number)
                && digits.All(char.IsAsciiDigit);
            if (text.Length == 0)
            {
                return 0; // nothing was written
            }

            bool fits = file == "max_kernel_pages" || number <= (file == "run" ? 2 : uint.MaxValue);
            if (!isNumber || (view == "merged" && !fits))
            {
                return view == "v4" ? 0 : -Errno.EINVAL;
            }

            Set(view, file, view == "v4" ? (uint)number : number);
            return Encoding.Latin1.GetByteCount(text);
        }

        public void Check(MountedDaemon mounted, string step)
        {
            Assert.Equal((step, $"{sleep}"), (step, mounted.Get("v4/sleep")));
            Assert.Equal((step, $"{(sleep + 999) / 1000}"), (step, mounted.Get("merged/sleep_millisecs")));
            Assert.Equal((step, $"{pages} {pages}"),
                (step, mounted.Get("v4/pages_to_scan") + " " + mounted.Get("merged/pages_to_scan")));
            Assert.Equal((step, $"{flags} {run}"), (step, mounted.Get("v4/run") + " " + mounted.Get("merged/run")));
            Assert.Equal((step, $"{max} {max}"),
                (step, mounted.Get("v4/max_kernel_pages") + " " + mounted.Get("merged/max_kernel_pages")));
        }

        private void Set(string view, string file, ulong number)
        {
            switch (file)
            {
                case "sleep":
                    sleep = number;
                    break;
                case "sleep_millisecs":
                    sleep = number * 1000;
                    break;
                case "pages_to_scan":
                    pages = number;
                    break;
                case "max_kernel_pages":
                    max = number;
                    break;
                default:
                    flags = number;
                    run = view == "v4" ? number & 1 : number;
                    break;
            }
        }
    }
}
