using Xunit;

namespace Samepage.Tests;

public sealed class DigestIndexTests
{
    [Fact]
    public void EveryAddedIdIsFoundByItsKeyWhileTheIndexGrows()
    {
        const int count = 200_000;
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
    public void IdsOfOneKeyAreFoundInTheOrderTheyWereAddedAlsoAfterGrowing()
    {
        const int count = 50_000;
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
        for (var round = 0; round < 1000; round++)
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
    public void OneKeyHasALimitedNumberOfIdsAndStaleOnesMakeRoom()
    {
        const int ids = 100_000;
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
        const int count = 1_500_000;
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
}
