using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Samepage.Benchmarks;

/// <summary>How fast pages are digested from the second-level cache and from memory, beside plain reading.</summary>
internal static class DigestBenchmarks
{
    // Digests per call: what the engine does with one buffer of pages.
    private const int Batch = 64;

    /// <summary>Prints one line per way and buffer size.</summary>
    public static int Run(string[] arguments)
    {
        if (!Benchmark.TryParse(arguments, out var smoke))
        {
            return 2;
        }

        Benchmark.PrintHost();
        Console.WriteLine($"{"what",-12}{"buffer",10}{"GB/s",9}{"Mpages/s",10}  checksum");
        int[] kibibytes = smoke ? [512, 8 * 1024] : [512, 512 * 1024];
        foreach (var size in kibibytes)
        {
            var pages = new byte[size * 1024];
            new Random(1).NextBytes(pages);
            var repeat = Math.Max(1, 8 * 1024 / size);
            var budget = TimeSpan.FromSeconds(smoke ? 0.02 : 2);
            Measure("read", pages, repeat, budget, Read);
            foreach (var tier in PageDigester.AvailableTiers)
            {
                var digester = PageDigester.Create(1, tier);
                Measure(tier, pages, repeat, budget, bytes => Digest(digester, bytes));
            }

            pages.AsSpan().Clear();
            Measure("is zero", pages, repeat, budget, Zeros);
        }

        return 0;
    }

    private static void Measure(string what, byte[] pages, int repeat, TimeSpan budget, Func<byte[], ulong> once)
    {
        ulong checksum = 0;
        var seconds = Benchmark.Fastest(budget, () => checksum = Repeat(pages, repeat, once));
        var bytes = (double)pages.Length * repeat;
        Console.WriteLine(
            $"{what,-12}{pages.Length / 1024 + " KiB",10}{bytes / seconds / 1e9,9:f1}" +
            $"{bytes / PageSize.Bytes / seconds / 1e6,10:f2}  {checksum:x16}");
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong Repeat(byte[] pages, int repeat, Func<byte[], ulong> once)
    {
        ulong checksum = 0;
        for (var i = 0; i < repeat; i++)
        {
            checksum = (checksum * 31) + once(pages);
        }

        return checksum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong Digest(PageDigester digester, byte[] pages)
    {
        Span<UInt128> digests = stackalloc UInt128[Batch];
        ulong checksum = 0;
        for (var at = 0; at < pages.Length; at += Batch * PageSize.Bytes)
        {
            digester.Digest(pages.AsSpan(at, Batch * PageSize.Bytes), digests);
            foreach (var digest in digests)
            {
                checksum += (ulong)digest ^ (ulong)(digest >> 64);
            }
        }

        return checksum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong Read(byte[] pages)
    {
        var words = MemoryMarshal.Cast<byte, Vector256<ulong>>(pages.AsSpan());
        var a = Vector256<ulong>.Zero;
        var b = a;
        var c = a;
        var d = a;
        for (; words.Length >= 4; words = words[4..])
        {
            a += words[0];
            b += words[1];
            c += words[2];
            d += words[3];
        }

        return Vector256.Sum(a + b + (c + d));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong Zeros(byte[] pages)
    {
        ulong zeros = 0;
        for (var at = 0; at < pages.Length; at += PageSize.Bytes)
        {
            zeros += PageDigester.IsZero(pages.AsSpan(at, PageSize.Bytes)) ? 1u : 0;
        }

        return zeros;
    }
}
