using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Samepage.Benchmarks;

/// <summary>
/// Time per operation and memory per entry of the digest index, growing from empty; a dictionary beside it, which
/// stores the keys too.
/// </summary>
internal static class IndexBenchmarks
{
    private const int WarmUpEntries = 20_000;

    /// <summary>Prints one line per table and number of entries.</summary>
    public static int Run(string[] arguments)
    {
        if (!Benchmark.TryParse(arguments, out var smoke))
        {
            return 2;
        }

        // Lets the runtime compile what is measured to the end: it does so in the background, after many calls.
        for (var i = 0; i < (smoke ? 1 : 20); i++)
        {
            MeasureIndex(WarmUpEntries, TextWriter.Null);
            MeasureDictionary(WarmUpEntries, TextWriter.Null);
            MeasureEqual(WarmUpEntries, TextWriter.Null);
            Thread.Sleep(20);
        }

        Benchmark.PrintHost();
        Console.WriteLine($"{"",-12}{"entries",10}{"add ns",8}{"1 in 10,000",13}{"hit ns",8}{"miss ns",9}" +
            $"{"remove ns",11}{"B/entry",9}{"at most",9}  checksum");
        foreach (var entries in smoke ? [200_000] : new[] { 1_000_000, 10_000_000 })
        {
            MeasureIndex(entries, Console.Out);
            MeasureDictionary(entries, Console.Out);
        }

        MeasureEqual(smoke ? 20_000 : 1_000_000, Console.Out);

        return 0;
    }

    private static void MeasureIndex(int entries, TextWriter to)
    {
        var keys = new Keys(entries);
        var order = RandomOrder(entries);
        var slow = SlowAdd(new DigestIndex(keys), keys, entries);
        var index = new DigestIndex(keys);
        var most = 0.0;
        ulong checksum = 0;
        var add = NanosecondsEach(entries, () => most = AddAll(index, keys, entries));
        var bytes = (double)index.Bytes / entries;
        var hit = NanosecondsEach(entries, () => checksum = FindAll(index, keys, order, 0));
        var miss = NanosecondsEach(entries, () => checksum += FindAll(index, keys, order, 1));
        var remove = NanosecondsEach(entries, () => checksum += RemoveAll(index, keys, order));
        to.WriteLine($"{"index",-12}{entries,10}{add,8:f0}{slow,10:f0} us{hit,8:f0}{miss,9:f0}{remove,11:f0}" +
            $"{bytes,9:f2}{most,9:f2}  {checksum:x16}");
    }

    private static void MeasureDictionary(int entries, TextWriter to)
    {
        var keys = new Keys(entries);
        var order = RandomOrder(entries);
        var before = GC.GetAllocatedBytesForCurrentThread();
        var dictionary = new Dictionary<ulong, uint>(entries);
        var bytes = (double)(GC.GetAllocatedBytesForCurrentThread() - before) / entries;
        ulong checksum = 0;
        var add = NanosecondsEach(entries, () => AddAll(dictionary, keys, entries));
        var hit = NanosecondsEach(entries, () => checksum = FindAll(dictionary, keys, order, 0));
        var miss = NanosecondsEach(entries, () => checksum += FindAll(dictionary, keys, order, 1));
        to.WriteLine($"{"dictionary",-12}{entries,10}{add,8:f0}{"presized",13}{hit,8:f0}{miss,9:f0}{"",11}" +
            $"{bytes,9:f2}{"",9}  {checksum:x16}");
    }

    /// <summary>Adds ids that all have one key, far beyond the number that is kept.</summary>
    private static void MeasureEqual(int entries, TextWriter to)
    {
        var keys = new Keys(entries);
        Array.Fill(keys.All, 42u);
        var index = new DigestIndex(keys);
        var add = NanosecondsEach(entries, () => AddAll(index, keys, entries));
        to.WriteLine($"{"one key",-12}{entries,10}{add,8:f0}  {index.Count:x16}");
    }

    private static double NanosecondsEach(int entries, Action all)
    {
        var start = Stopwatch.GetTimestamp();
        all();
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / entries;
    }

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

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddAll(Dictionary<ulong, uint> dictionary, Keys keys, int entries)
    {
        for (uint id = 0; id < entries; id++)
        {
            dictionary[keys.KeyOf(id)] = id;
        }
    }

    /// <summary>Microseconds one Add in ten thousand takes at least: the slower of those that move entries.</summary>
    private static double SlowAdd(DigestIndex index, Keys keys, int entries)
    {
        var times = new int[entries];
        for (uint id = 0; id < entries; id++)
        {
            var start = Stopwatch.GetTimestamp();
            index.Add(keys.KeyOf(id), id);
            times[id] = (int)(Stopwatch.GetTimestamp() - start);
        }

        Array.Sort(times);
        return times[^((entries / 10_000) + 1)] * 1e6 / Stopwatch.Frequency;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong FindAll(DigestIndex index, Keys keys, uint[] order, ulong change)
    {
        Span<uint> found = stackalloc uint[4];
        ulong checksum = 0;
        foreach (var id in order)
        {
            // Keys are even: one more is not there.
            var count = index.Find(keys.KeyOf(id) ^ change, found);
            checksum += (ulong)count + (count == 0 ? 0 : found[0]);
        }

        return checksum;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ulong FindAll(Dictionary<ulong, uint> dictionary, Keys keys, uint[] order, ulong change)
    {
        ulong checksum = 0;
        foreach (var id in order)
        {
            checksum += dictionary.TryGetValue(keys.KeyOf(id) ^ change, out var found) ? 1 + (ulong)found : 0;
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
        public Keys(int entries)
        {
            var random = new Random(3);
            All = new ulong[entries];
            for (var id = 0; id < entries; id++)
            {
                All[id] = (ulong)random.NextInt64(1, long.MaxValue) * 2;
            }
        }

        public ulong[] All { get; }

        public ulong KeyOf(uint id) => All[id];
    }
}
