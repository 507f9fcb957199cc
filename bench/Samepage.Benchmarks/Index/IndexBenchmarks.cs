using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Samepage.Benchmarks;

/// <summary>Time per operation and memory per entry of the digest index, growing from empty.</summary>
internal static class IndexBenchmarks
{
    /// <summary>Prints one line per number of entries.</summary>
    public static int Run(string[] arguments)
    {
        if (!Benchmark.TryParse(arguments, out var smoke))
        {
            return 2;
        }

        Benchmark.PrintHost();
        Console.WriteLine($"{"entries",10}{"add ns",8}{"longest us",12}{"hit ns",8}{"miss ns",9}{"remove ns",11}" +
            $"{"B/entry",9}{"most B/entry",14}  checksum");
        foreach (var entries in smoke ? [10_000] : new[] { 1_000_000, 10_000_000 })
        {
            Measure(entries);
        }

        return 0;
    }

    private static void Measure(int entries)
    {
        var keys = new Keys(entries);
        var index = new DigestIndex(keys);
        var order = RandomOrder(entries);

        var most = 0.0;
        var add = NanosecondsEach(entries, () => most = AddAll(index, keys, entries));
        var bytes = (double)index.Bytes / entries;
        ulong checksum = 0;
        var hit = NanosecondsEach(entries, () => checksum = FindAll(index, keys, order, 0));
        var miss = NanosecondsEach(entries, () => checksum += FindAll(index, keys, order, 1));
        var remove = NanosecondsEach(entries, () => checksum += RemoveAll(index, keys, order));
        var longest = LongestAdd(new DigestIndex(keys), keys, entries);
        Console.WriteLine($"{entries,10}{add,8:f0}{longest,12:f0}{hit,8:f0}{miss,9:f0}{remove,11:f0}" +
            $"{bytes,9:f2}{most,14:f2}  {checksum:x16}");
    }

    private static double NanosecondsEach(int entries, Action all) => Benchmark.BestOf(1, all) * 1e9 / entries;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double AddAll(DigestIndex index, Keys keys, int entries)
    {
        var most = 0.0;
        for (uint id = 0; id < entries; id++)
        {
            index.Add(keys.KeyOf(id), id);
            if ((id & 1023) == 1023 && id > 100_000)
            {
                most = Math.Max(most, (double)index.Bytes / index.Count);
            }
        }

        return most;
    }

    /// <summary>The longest single Add in microseconds: that of a split, unless something disturbed it.</summary>
    private static double LongestAdd(DigestIndex index, Keys keys, int entries)
    {
        long longest = 0;
        for (uint id = 0; id < entries; id++)
        {
            var start = Stopwatch.GetTimestamp();
            index.Add(keys.KeyOf(id), id);
            longest = Math.Max(longest, Stopwatch.GetTimestamp() - start);
        }

        return longest * 1e6 / Stopwatch.Frequency;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong FindAll(DigestIndex index, Keys keys, uint[] order, ulong change)
    {
        Span<uint> found = stackalloc uint[4];
        ulong checksum = 0;
        foreach (var id in order)
        {
            // A key that differs in one bit is not there: the keys are random.
            var count = index.Find(keys.KeyOf(id) ^ change, found);
            checksum += (ulong)count + (count == 0 ? 0 : found[0]);
        }

        return checksum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong RemoveAll(DigestIndex index, Keys keys, uint[] order)
    {
        ulong removed = 0;
        foreach (var id in order)
        {
            removed += index.Remove(keys.KeyOf(id), id) ? 1u : 0;
        }

        return removed;
    }

    private static uint[] RandomOrder(int entries)
    {
        var order = new uint[entries];
        for (uint id = 0; id < entries; id++)
        {
            order[id] = id;
        }

        new Random(2).Shuffle(order);
        return order;
    }

    private sealed class Keys : IDigestKeys
    {
        private readonly ulong[] _keys;

        public Keys(int entries)
        {
            var random = new Random(3);
            _keys = new ulong[entries];
            for (var id = 0; id < entries; id++)
            {
                _keys[id] = (ulong)random.NextInt64(1, long.MaxValue) * 2;
            }
        }

        public ulong KeyOf(uint id) => _keys[id];
    }
}
