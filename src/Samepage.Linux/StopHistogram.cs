namespace Samepage.Linux;

/// <summary>
/// How long targets stood still, one entry per batch: from the first interrupt to the last detach, in nanoseconds,
/// in buckets of a quarter of a power of two. Thread-safe.
/// </summary>
public sealed class StopHistogram
{
    private const int BucketsPerOctave = 4;
    private readonly long[] _buckets = new long[64 * BucketsPerOctave];
    private long _count, _max, _sum;

    /// <summary>Batches measured.</summary>
    public long Count => Volatile.Read(ref _count);

    /// <summary>Longest, in nanoseconds.</summary>
    public long MaxNanoseconds => Volatile.Read(ref _max);

    /// <summary>Sum, in nanoseconds.</summary>
    public long SumNanoseconds => Volatile.Read(ref _sum);

    /// <summary>Adds one.</summary>
    public void Add(long nanoseconds)
    {
        _ = Interlocked.Increment(ref _buckets[Bucket(Math.Max(nanoseconds, 1))]);
        _ = Interlocked.Increment(ref _count);
        _ = Interlocked.Add(ref _sum, nanoseconds);
        long seen = Volatile.Read(ref _max);
        while (nanoseconds > seen)
        {
            seen = Interlocked.CompareExchange(ref _max, nanoseconds, seen);
        }
    }

    /// <summary>Upper bound of the bucket that holds the given share (0 to 1) of all, at most the maximum; 0 when empty.</summary>
    public long Percentile(double share)
    {
        long wanted = (long)Math.Ceiling(share * Count);
        long seen = 0;
        for (int i = 0; i < _buckets.Length && wanted > 0; i++)
        {
            seen += Volatile.Read(ref _buckets[i]);
            if (seen >= wanted)
            {
                return Math.Min(UpperBound(i), MaxNanoseconds);
            }
        }

        return MaxNanoseconds;
    }

    /// <summary>Buckets that have entries: upper bound in nanoseconds and count.</summary>
    public IReadOnlyList<(long UpTo, long Count)> Buckets()
    {
        var list = new List<(long, long)>();
        for (int i = 0; i < _buckets.Length; i++)
        {
            long count = Volatile.Read(ref _buckets[i]);
            if (count != 0)
            {
                list.Add((UpperBound(i), count));
            }
        }

        return list;
    }

    private static int Bucket(long value)
    {
        int octave = 63 - System.Numerics.BitOperations.LeadingZeroCount((ulong)value);
        int quarter = octave < 2 ? 0 : (int)((value >> (octave - 2)) & 3);
        return octave * BucketsPerOctave + quarter;
    }

    private static long UpperBound(int bucket)
    {
        int octave = bucket / BucketsPerOctave, quarter = bucket % BucketsPerOctave;
        return octave < 2 ? 1L << (octave + 1) : (1L << octave) + ((quarter + 1L) << (octave - 2));
    }
}
