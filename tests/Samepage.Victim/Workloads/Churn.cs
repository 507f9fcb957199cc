using System.Runtime.InteropServices;

namespace Samepage.Victims;

/// <summary>
/// A thread that unmaps, maps, protects and fills exactly the pages that are candidates for merging. Whoever maps
/// something into the hole, or over a fresh mapping, is found out.
/// </summary>
internal sealed class Churn : Workload
{
    private const int BlockPages = 16;

    internal Churn(VictimOptions options)
        : base("churn", options) => FillAll();

    // Done by the churning threads themselves (below): from outside, a page may just not be there.
    internal override void Sabotage(ref Dice dice)
    {
    }

    protected override void Run(int thread, CancellationToken stop)
    {
        (int first, int count) = PartOf(thread);
        var dice = new Dice(Options.Seed + (ulong)thread);
        while (!stop.IsCancellationRequested)
        {
            for (int i = 0; i < 50; i++)
            {
                int page = first + dice.Below(count - BlockPages + 1);
                if (Options.IsBroken && dice.Below(100) == 0)
                {
                    Region.Words(page)[dice.Below(Region.PageWords)] ^= 1;
                }

                Step(page, dice.Below(3));
            }

            CountOperations(50 * BlockPages);
            Thread.Sleep(1);
        }
    }

    private void Step(int page, int kind)
    {
        CheckContent(page, BlockPages);
        if (kind == 0)
        {
            Replace(page);
        }
        else if (kind == 1)
        {
            // In the middle, so that the mapping is split and joined again.
            Region.Protect(page + 4, 8, isWritable: false);
            CheckContent(page, BlockPages);
            Region.Protect(page + 4, 8, isWritable: true);
        }
        else
        {
            Content.Fill(Region, page);
        }

        CheckContent(page, BlockPages);
    }

    private void Replace(int page)
    {
        Region.Unmap(page, BlockPages);
        if (!Region.TryMap(page, BlockPages))
        {
            // Somebody mapped something into the hole. Take the place back to go on.
            CountWrong();
            Region.Unmap(page, BlockPages);
            if (!Region.TryMap(page, BlockPages))
            {
                throw Native.Failed("mmap");
            }
        }

        for (int i = page; i < page + BlockPages; i++)
        {
            if (MemoryMarshal.AsBytes(Region.Words(i)).ContainsAnyExcept((byte)0))
            {
                CountWrong();
            }

            Content.Fill(Region, i);
        }
    }

    private void CheckContent(int first, int count)
    {
        for (int page = first; page < first + count; page++)
        {
            Span<ulong> words = Region.Words(page);
            bool isWrong = false;
            bool isZero = true;
            for (int word = 0; word < words.Length; word++)
            {
                ulong value = words[word];
                isZero &= value == 0;
                isWrong |= value != Content[page, word];
            }

            if (isWrong)
            {
                Count(isZero);
                Content.Fill(Region, page);
            }
        }
    }

    private void Count(bool isZero)
    {
        if (isZero)
        {
            CountLost();
        }
        else
        {
            CountWrong();
        }
    }
}
