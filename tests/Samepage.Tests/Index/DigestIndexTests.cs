using Xunit;

namespace Samepage.Tests;

public sealed class DigestIndexTests
{
    [Fact]
    public void EveryAddedIdIsFoundByItsKeyWhileTheIndexGrows()
    {
        const int count = 60_000;
        var keys = new KeyTable(count);
        var index = new DigestIndex(keys, 1);
        Span<uint> found = stackalloc uint[4];
        for (uint id = 0; id < count; id++)
        {
            keys.Keys[id] = id + 1;
            Assert.True(index.Add(id + 1, id));
        }

        Assert.Equal(count, index.Count);
        for (uint id = 0; id < count; id++)
        {
            Assert.Equal(1, index.Find(id + 1, found));
            Assert.Equal(id, found[0]);
        }

        Assert.Equal(0, index.Find(count + 1, found));
        Assert.Equal(0, index.Find(0, found));
    }

    [Fact]
    public void OnlyTheFirstIdOfAKeyIsAddedWhereOthersAreNotWanted()
    {
        const int count = 20_000;
        var keys = new KeyTable(2 * count);
        var index = new DigestIndex(keys, 1);
        for (uint id = 0; id < count; id++)
        {
            keys.Keys[id] = 0;
            Assert.True(index.TryAddFirst(id + 1, id, out _));
            keys.Keys[id] = id + 1;
        }

        for (uint id = 0; id < count; id++)
        {
            Assert.False(index.TryAddFirst(id + 1, id + count, out uint other));
            Assert.Equal(id, other);
        }

        Assert.Equal(count, index.Count);

        // An id that has got another key is in nobody's way.
        keys.Keys[7] = 0;
        Assert.True(index.TryAddFirst(8, count, out _));
        keys.Keys[count] = 8;
        Assert.False(index.TryAddFirst(8, count + 1, out uint found));
        Assert.Equal((uint)count, found);
    }

    [Fact]
    public void IdsOfOneKeyAreFoundInTheOrderTheyWereAddedAlsoAfterGrowing()
    {
        const int count = 20_000;
        const ulong shared = 0xdead_beef_1234_5678;
        var keys = new KeyTable(count);
        var index = new DigestIndex(keys, 1);
        var expected = new List<uint>();
        for (uint id = 0; id < count; id++)
        {
            keys.Keys[id] = id % 100 == 7 ? shared : id + 1;
            index.Add(keys.Keys[id], id);
            if (keys.Keys[id] == shared)
            {
                expected.Add(id);
            }
        }

        var found = new uint[count];
        Assert.Equal(expected, found[..index.Find(shared, found)]);
        Assert.Equal(3, index.Find(shared, found.AsSpan(0, 3)));
        Assert.Equal(expected[..3], found[..3]);
    }

    [Fact]
    public void APairAddedTwiceIsOneEntry()
    {
        var keys = new KeyTable(1) { Keys = { [0] = 9 } };
        var index = new DigestIndex(keys);

        Assert.True(index.Add(9, 0));
        Assert.True(index.Add(9, 0));

        Assert.Equal(1, index.Count);
        Assert.True(index.Remove(9, 0));
        Assert.False(index.Remove(9, 0));
        Assert.Equal(0, index.Count);
    }

    [Fact]
    public void AnIdWhoseKeyHasChangedIsFoundByTheNewKeyOnly()
    {
        var keys = new KeyTable(1) { Keys = { [0] = 9 } };
        var index = new DigestIndex(keys);
        index.Add(9, 0);
        keys.Keys[0] = 10;
        index.Add(10, 0);
        Span<uint> found = stackalloc uint[4];

        Assert.Equal(0, index.Find(9, found));
        Assert.Equal(1, index.Find(10, found));
        keys.Keys[0] = 0;
        Assert.Equal(0, index.Find(10, found));
    }

    [Fact]
    public void StaleEntriesDoNotMakeTheIndexGrowForEver()
    {
        const int ids = 1000;
        var keys = new KeyTable(ids);
        var index = new DigestIndex(keys);
        ulong key = 1;
        for (var round = 0; round < 200; round++)
        {
            for (uint id = 0; id < ids; id++)
            {
                keys.Keys[id] = key;
                index.Add(key++, id);
            }
        }

        Assert.InRange(index.Bytes, 1, 40 * ids);
        Assert.InRange(index.Count, ids, 4 * ids);
    }

    [Fact]
    public void EntriesWhoseKeyHasChangedAreThrownOutWhenTheIndexGrows()
    {
        const int ids = 10_000;
        var keys = new KeyTable(2 * ids);
        var index = new DigestIndex(keys, 1);
        for (uint id = 0; id < ids; id++)
        {
            keys.Keys[id] = id + 1;
            index.Add(keys.Keys[id], id);
        }

        for (uint id = 0; id < ids; id++)
        {
            keys.Keys[id] += 1_000_000;
        }

        for (uint id = ids; id < 2 * ids; id++)
        {
            keys.Keys[id] = id + 1;
            index.Add(keys.Keys[id], id);
        }

        // Of the changed ones, one in 254 has by chance the tag it had before.
        Assert.InRange(index.Count, ids, ids + (ids / 50));
    }

    [Fact]
    public void KeysThatCrowdOnePartOfTheIndexAreAllFound()
    {
        const int count = 40_000;
        var keys = new KeyTable(count);
        var index = new DigestIndex(keys, 1);
        var random = new Random(20265);
        for (uint id = 0; id < count; id++)
        {
            // First ten bits 0 for the first half: the directory gets deep there while the rest stays shallow.
            var hash = (ulong)random.NextInt64(long.MinValue, long.MaxValue);
            keys.Keys[id] = KeyWithHash(id < count / 2 ? hash >> 10 : hash);
            index.Add(keys.Keys[id], id);
        }

        Span<uint> found = stackalloc uint[2];
        for (uint id = 0; id < count; id++)
        {
            Assert.Equal(1, index.Find(keys.Keys[id], found));
            Assert.Equal(id, found[0]);
        }

        Assert.Equal(count, index.Count);
        Assert.InRange(index.Bytes, 1, 8 * count);
    }

    [Fact]
    public void OneKeyHasALimitedNumberOfIdsAndStaleOnesMakeRoom()
    {
        const int ids = 10_000;
        var keys = new KeyTable(ids);
        var index = new DigestIndex(keys);
        for (uint id = 0; id < ids; id++)
        {
            keys.Keys[id] = 5;
            Assert.Equal(id < DigestIndex.MaxIdsPerKey, index.Add(5, id));
        }

        var found = new uint[ids];
        Assert.Equal(DigestIndex.MaxIdsPerKey, index.Find(5, found));
        keys.Keys[100] = 0;
        Assert.True(index.Add(5, ids - 1));
        Assert.Contains((uint)(ids - 1), found[..index.Find(5, found)]);
        Assert.False(index.Add(5, ids - 2));
    }

    [Fact]
    public void MemoryStaysBelowEightBytesPerEntryAlsoWhileGrowing()
    {
        const int count = 120_000;
        var keys = new KeyTable(count);
        var index = new DigestIndex(keys, 1);
        for (uint id = 0; id < count; id++)
        {
            keys.Keys[id] = id + 1;
            index.Add(id + 1, id);
            if (id >= 1000)
            {
                Assert.True(index.Bytes <= 8 * index.Count, $"{index.Bytes} bytes for {index.Count} entries");
            }
        }
    }

    [Fact]
    public void ClearingKeepsNoEntryAndTheIndexGoesOnWorking()
    {
        const int count = 100_000;
        var keys = new KeyTable(count);
        var index = new DigestIndex(keys);
        Span<uint> found = stackalloc uint[4];
        for (var round = 0; round < 3; round++)
        {
            for (uint id = 0; id < count; id++)
            {
                keys.Keys[id] = id + 1;
                index.Add(id + 1, id);
            }

            Assert.Equal(1, index.Find(count / 2, found));
            index.Clear();
            Assert.Equal(0, index.Count);
            Assert.Equal(0, index.Find(count / 2, found));
        }

        index.Clear();
        Assert.InRange(index.Bytes, 1, 16 * 1024);
    }

    [Fact]
    public void FindAndAddDoNotAllocate()
    {
        const int count = 10_000;
        var keys = new KeyTable(count);
        var index = new DigestIndex(keys, 2 * count);
        var found = new uint[8];
        Work();
        index.Clear();

        var before = GC.GetAllocatedBytesForCurrentThread();
        Work();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Work()
        {
            for (uint id = 0; id < count; id++)
            {
                keys.Keys[id] = (id / 2) + 1;
                index.Add((id / 2) + 1, id);
                index.Find((id / 2) + 1, found);
                index.Find(~0UL - id, found);
                if (id % 3 == 0)
                {
                    index.Remove((id / 2) + 1, id);
                }
            }
        }
    }

    /// <summary>The finaliser that <see cref="IndexHash"/> applies, backwards.</summary>
    private static ulong KeyWithHash(ulong hash)
    {
        hash ^= hash >> 33;
        hash *= 0x9CB4B2F8129337DB;
        hash ^= hash >> 33;
        hash *= 0x4F74430C22A54005;
        return hash ^ (hash >> 33);
    }
}
