using System.Runtime.InteropServices;

namespace Samepage.Victims;

/// <summary>
/// madvise(MADV_DONTNEED) on memory full of tags: it must read as zeros afterwards, whatever it was mapped from.
/// </summary>
internal sealed class DontNeed : Workload
{
    internal DontNeed(VictimOptions options)
        : base("dontneed", options)
    {
        for (int page = 0; page < Region.Pages; page++)
        {
            WriteTags(page);
        }
    }

    // A tag where there should be zeros is what stale bytes look like.
    internal override void Sabotage(ref Dice dice)
    {
        int page = dice.Below(Region.Pages);
        Region.Words(page)[5] = Tag(page, 5) ^ 0x100;
    }

    protected override void Run(int thread, CancellationToken stop)
    {
        (int first, int count) = PartOf(thread);
        var dice = new Dice(Options.Seed + (ulong)thread);
        var isFilled = new bool[count];
        Array.Fill(isFilled, true);
        while (!stop.IsCancellationRequested)
        {
            for (int step = 0; step < 20; step++)
            {
                int length = Math.Min(1 + dice.Below(32), count);
                int start = dice.Below(count - length + 1);
                bool take = dice.Below(2) == 0;
                Check(first, start, length, isFilled);
                if (take)
                {
                    Region.DontNeed(first + start, length);
                }

                for (int page = start; page < start + length; page++)
                {
                    isFilled[page] = !take;
                    if (!take)
                    {
                        WriteTags(first + page);
                    }
                }

                Check(first, start, length, isFilled);
                CountOperations(2 * length);
            }

            Thread.Sleep(1);
        }
    }

    // Eight different pages only: nearly all of it can be merged. No byte is zero.
    private static ulong Tag(int page, int word) =>
        Content.Mix(((ulong)(page % 8) << 16) ^ (ulong)word) | 0x0101010101010101;

    private void WriteTags(int page)
    {
        Span<ulong> words = Region.Words(page);
        for (int word = 0; word < words.Length; word++)
        {
            words[word] = Tag(page, word);
        }
    }

    private void Check(int first, int start, int length, bool[] isFilled)
    {
        for (int page = start; page < start + length; page++)
        {
            ReadOnlySpan<ulong> words = Region.Words(first + page);
            if (!isFilled[page])
            {
                if (MemoryMarshal.AsBytes(words).ContainsAnyExcept((byte)0))
                {
                    CountWrong();
                }

                continue;
            }

            for (int word = 0; word < words.Length; word++)
            {
                if (words[word] != Tag(first + page, word))
                {
                    CountLostOrWrong(words[word] == 0);
                    break;
                }
            }
        }
    }

    private void CountLostOrWrong(bool isZero)
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
