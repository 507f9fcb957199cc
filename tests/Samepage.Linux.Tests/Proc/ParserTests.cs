using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Tests.Proc;

public class ParserTests
{
    [Fact]
    public void AMapsLineGivesEveryField()
    {
        Assert.True(MapsLine.TryParse(
            "7f00001000-7f00003000 rw-s 00002000 fe:01 4242                       /tmp/a b\\012c (deleted)"u8,
            out MapsLine line));
        Assert.Equal(new PageRange(0x7f00001, 0x7f00003), line.Pages);
        Assert.Equal(VmaProtection.Read | VmaProtection.Write, line.Protection);
        Assert.True(line.IsShared);
        Assert.Equal(0x2000ul, line.Offset);
        Assert.Equal(new FileIdentity(0xfe, 1, 4242), line.File);
        Assert.Equal("/tmp/a b\\012c (deleted)", Encoding.UTF8.GetString(line.Name));
    }

    [Fact]
    public void TheVsyscallPageAtTheTopOfMemoryParses()
    {
        Assert.True(MapsLine.TryParse(
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]"u8,
            out MapsLine line));
        Assert.Equal(1ul, line.Pages.Count);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-")]
    [InlineData("1000-2000")]
    [InlineData("2000-1000 rw-p 00000000 00:00 0")]
    [InlineData("1001-2000 rw-p 00000000 00:00 0")]
    [InlineData("10000000000001000-2000 rw-p 00000000 00:00 0")]
    [InlineData("1000-2000 rw-q 00000000 00:00 0")]
    [InlineData("1000-2000 rwp 00000000 00:00 0")]
    [InlineData("1000-2000 rw-p  00:00 0")]
    [InlineData("1000-2000 rw-p 00000000 1ffffffff:00 0")]
    [InlineData("1000-2000 rw-p 00000000 00:00 99999999999999999999999")]
    public void AMalformedMapsLineIsRefused(string line) =>
        Assert.False(MapsLine.TryParse(Encoding.UTF8.GetBytes(line), out _));

    [Fact]
    public void MalformedLinesArePassedOverAndCounted()
    {
        MapsParser parser = new("garbage\n1000-2000 rw-p 00000000 00:00 0 \n\nmore"u8);
        Assert.True(parser.TryNext(out MapsLine line));
        Assert.Equal(0x1000ul, line.Start);
        Assert.False(parser.TryNext(out _));
        Assert.Equal(3, parser.Malformed);
    }

    [Fact]
    public void SmapsAttributesGoToTheMappingAboveThem()
    {
        SmapsParser parser = new("""
            1000-3000 rw-p 00000000 00:00 0                  [heap]
            Size:                  8 kB
            Rss:                   4 kB
            Anonymous:             4 kB
            Swap:                 12 kB
            ProtectionKey:         3
            VmFlags: rd wr mr mw me ac lo dd
            4000-5000 r--p 00000000 00:00 0
            Rss:                   0 kB
            VmFlags: rd zz
            """u8);
        Assert.True(parser.TryNext(out SmapsEntry first));
        Assert.Equal((4ul, 4ul, 12ul, 3ul), (first.RssKiB, first.AnonymousKiB, first.SwapKiB, first.ProtectionKey));
        Assert.Equal(VmFlags.Plain | VmFlags.Accounted | VmFlags.Locked | VmFlags.DontDump, first.Flags);
        Assert.True(parser.TryNext(out SmapsEntry second));
        Assert.Equal(0x4000ul, second.Map.Start);
        Assert.Equal(VmFlags.Plain | VmFlags.Unknown, second.Flags);
        Assert.False(parser.TryNext(out _));
    }

    [Fact]
    public void StatFieldsCountFromTheLastParenthesis()
    {
        Assert.True(ProcessStat.TryParse(
            "7 (a) R 1 (b\n) S 5 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 99 1\n"u8, out ProcessStat stat));
        Assert.Equal(('S', 5, 123456ul), (stat.State, stat.ParentPid, stat.StartTicks));
    }

    [Fact]
    public void StatusOfAProcessWithAHostileNameIsReadRight()
    {
        Assert.True(ProcessStatus.TryParse(
            "Name:\tUid:\\n0\nState:\tS (sleeping)\nTgid:\t42\nUid:\t1000\t1001\t1002\t1003\n"u8 +
            "Threads:\t3\nKthread:\t0\nSeccomp:\t2\n"u8,
            out ProcessStatus status));
        Assert.Equal(('S', 42, 1000u, 1001u), (status.State, status.Tgid, status.RealUid, status.EffectiveUid));
        Assert.Equal((3, 2, false), (status.Threads, status.SeccompMode, status.IsKernelThread));
    }

    [Fact]
    public void BeforeLinux68AKernelThreadIsToldByItsMissingMemory()
    {
        Assert.True(ProcessStatus.TryParse(
            "State:\tI (idle)\nTgid:\t2\nUid:\t0\t0\t0\t0\n"u8, out ProcessStatus status));
        Assert.True(status.IsKernelThread);
    }

    [Fact]
    public void TheAuxiliaryVectorTellsTheWordWidth()
    {
        byte[] wide = [.. new ulong[] { 6, 4096, 4, 56, 0, 0 }.SelectMany(BitConverter.GetBytes)];
        byte[] narrow = [.. new uint[] { 6, 4096, 4, 32, 0, 0 }.SelectMany(BitConverter.GetBytes)];
        Assert.Equal(WordWidth.Bits64, AuxiliaryVector.Width(wide));
        Assert.Equal(WordWidth.Bits32, AuxiliaryVector.Width(narrow));
        Assert.Equal(WordWidth.Unknown, AuxiliaryVector.Width([]));
    }

    [Theory]
    [InlineData("0", true, 0ul)]
    [InlineData("18446744073709551615", true, ulong.MaxValue)]
    [InlineData("18446744073709551616", false, 0ul)]
    [InlineData("99999999999999999999", false, 0ul)]
    [InlineData("", false, 0ul)]
    [InlineData("1a", false, 0ul)]
    [InlineData("-1", false, 0ul)]
    public void DecimalNumbersEndAtTheirLimit(string text, bool good, ulong expected)
    {
        Assert.Equal(good, ProcText.TryDecimal(Encoding.UTF8.GetBytes(text), out ulong value));
        Assert.True(!good || value == expected);
    }

    /// <summary>A process at the kernel's default limit of mappings must not cost more than a blink: 30 ms of
    /// processor time is the promise, and a quarter of that what it takes.</summary>
    [Fact]
    public void SixtyFiveThousandLinesAreParsedWithinThirtyMilliseconds()
    {
        const int lines = 65_000;
        StringBuilder builder = new();
        for (int i = 0; i < lines; i++)
        {
            ulong start = 0x7f0000000000 + ((ulong)i * 0x3000);
            builder.Append($"{start:x}-{start + 0x2000:x} rw-p {i * 4096:x8} 00:2a 4242")
                .Append("                    /#4242 (deleted)\n");
        }

        byte[] text = Encoding.UTF8.GetBytes(builder.ToString());
        TimeSpan best = TimeSpan.MaxValue;
        for (int attempt = 0; attempt < 20; attempt++)
        {
            TimeSpan started = ProcessorTime();
            MapsParser parser = new(text);
            int count = 0;
            while (parser.TryNext(out _))
            {
                count++;
            }

            TimeSpan elapsed = ProcessorTime() - started;
            best = elapsed < best ? elapsed : best;
            Assert.Equal(lines, count);
        }

        Assert.True(best < TimeSpan.FromMilliseconds(30), $"{best.TotalMilliseconds} ms");
    }

    /// <summary>Goal: no text whatever makes a parser throw or run on. Method: real text of every kind, with random
    /// pieces cut out, doubled, or overwritten, and plain random bytes.</summary>
    [Fact]
    public void NoTextMakesAParserThrow()
    {
        byte[][] seeds =
        [
            File.ReadAllBytes("/proc/self/maps"), File.ReadAllBytes("/proc/self/smaps")[..4000],
            File.ReadAllBytes("/proc/self/status"), File.ReadAllBytes("/proc/self/stat"),
            File.ReadAllBytes("/proc/self/statm"), File.ReadAllBytes("/proc/self/auxv"), [],
        ];
        Gen<byte[]> text =
            from seed in Gen.Elements(seeds)
            from noise in ArbMap.Default.GeneratorFor<byte[]>()
            from at in Gen.Choose(0, seed.Length)
            from cut in Gen.Choose(0, 40)
            select (byte[])[.. seed.AsSpan(0, at), .. noise, .. seed.AsSpan(Math.Min(seed.Length, at + cut))];
        Prop.ForAll(text.ToArbitrary(), ParseEverything).Check(Config.QuickThrowOnFailure.WithMaxTest(3000));
    }

    /// <summary>What this thread has run, by the scheduler's account: other work on the machine does not
    /// count.</summary>
    private static TimeSpan ProcessorTime() => TimeSpan.FromMicroseconds(
        long.Parse(File.ReadAllText("/proc/thread-self/schedstat").Split(' ')[0]) / 1000.0);

    private static bool ParseEverything(byte[] text)
    {
        MapsParser maps = new(text);
        int count = 0;
        while (maps.TryNext(out MapsLine line))
        {
            Assert.True(line.End >= line.Start);
            count++;
        }

        SmapsParser smaps = new(text);
        int entries = 0;
        VmaTable table = new();
        while (smaps.TryNext(out SmapsEntry entry))
        {
            VmaSegment segment = VmaClassifier.Classify(entry, new VmaRules());
            _ = table.Add(segment);
            entries++;
        }

        table.BuildRegions();
        for (int i = 1; i < table.VmaCount; i++)
        {
            Assert.True(table.Segments[i - 1].Range.End <= table.Segments[i].Range.Start);
        }

        _ = ProcessStatus.TryParse(text, out _);
        _ = ProcessStat.TryParse(text, out _);
        _ = ProcessStatm.TryParse(text, out _);
        _ = AuxiliaryVector.Width(text);
        return count >= entries;
    }
}
