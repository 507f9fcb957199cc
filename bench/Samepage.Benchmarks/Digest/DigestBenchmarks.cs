using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Samepage.Benchmarks;

/// <summary>How fast pages are digested from the second-level cache and from memory, beside plain reading.</summary>
internal static class DigestBenchmarks
{
    // Digests per call: what the engine does with one buffer of pages.
    private const int Batch = 64;

    private const int RoundBytes = 4 << 20;

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
            var budget = TimeSpan.FromSeconds(smoke ? 0.02 : 2);
            Measure("read", pages, budget, Read);
            foreach (var tier in PageDigester.AvailableTiers)
            {
                var digester = PageDigester.Create(1, tier);
                Measure(tier, pages, budget, bytes => Digest(digester, bytes));
            }

            pages.AsSpan().Clear();
            Measure("is zero", pages, budget, Zeros);
        }

        return 0;
    }

    private delegate ulong Way(ReadOnlySpan<byte> pages);

    private static void Measure(string what, byte[] pages, TimeSpan budget, Way way)
    {
        var checksum = way(pages);

        // Short rounds, so that some pass undisturbed; of a large buffer each takes the next part, out of the cache.
        var part = Math.Min(pages.Length, RoundBytes);
        var next = 0;
        var seconds = Benchmark.Fastest(budget, () =>
        {
            for (var done = 0; done < RoundBytes; done += part)
            {
                way(pages.AsSpan(next, part));
                next = (next + part) % pages.Length;
            }
        });
        Console.WriteLine(
            $"{what,-12}{pages.Length / 1024 + " KiB",10}{RoundBytes / seconds / 1e9,9:f1}" +
            $"{RoundBytes / PageSize.Bytes / seconds / 1e6,10:f2}  {checksum:x16}");
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong Digest(PageDigester digester, ReadOnlySpan<byte> pages)
    {
        Span<UInt128> digests = stackalloc UInt128[Batch];
        ulong checksum = 0;
        for (var at = 0; at < pages.Length; at += Batch * PageSize.Bytes)
        {
            digester.Digest(pages.Slice(at, Batch * PageSize.Bytes), digests);
            foreach (var digest in digests)
            {
                checksum += (ulong)digest ^ (ulong)(digest >> 64);
            }
        }

        return checksum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong Read(ReadOnlySpan<byte> pages)
    {
        var words = MemoryMarshal.Cast<byte, Vector256<ulong>>(pages);
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
    private static ulong Zeros(ReadOnlySpan<byte> pages)
    {
        ulong zeros = 0;
        for (var at = 0; at < pages.Length; at += PageSize.Bytes)
        {
            zeros += PageDigester.IsZero(pages.Slice(at, PageSize.Bytes)) ? 1u : 0;
        }

        return zeros;
    }
}
