namespace Samepage.Victims;

/// <summary>
/// User stores. Every thread owns one word in every page, checks what it stored last before it stores again, and looks
/// at words nobody writes. It stays in one part of the region for a while, so that the rest comes to rest; most stores
/// put the original content back, otherwise no two pages would ever be alike.
/// </summary>
internal sealed class Writers : Workload
{
    private const int OwnedFirst = 8, OwnedEnd = 256, StepOperations = 4000;

    internal Writers(VictimOptions options)
        : base("writers", options) => FillAll();

    internal override void Sabotage(ref Dice dice) => Region.Words(dice.Below(Region.Pages))[OwnedFirst] ^= 1;

    protected override void Run(int thread, CancellationToken stop)
    {
        int word = OwnedFirst + thread;
        var dice = new Dice(Options.Seed + (ulong)thread);
        ulong sequence = (ulong)(thread + 1) << 40;
        var last = new ulong[Region.Pages];
        for (int page = 0; page < last.Length; page++)
        {
            last[page] = Content[page, word];
        }

        ulong[] before = [.. last];
        while (!stop.IsCancellationRequested)
        {
            int part = Region.Pages / 8;
            int first = dice.Below(8) * part;
            for (int i = 0; i < StepOperations; i++)
            {
                int page = first + dice.Below(part);
                Span<ulong> words = Region.Words(page);
                ulong value = Volatile.Read(ref words[word]);
                if (value != last[page])
                {
                    Report(value == before[page]);
                }

                CheckQuietWord(words, page, OwnedEnd + dice.Below(Region.PageWords - OwnedEnd));
                before[page] = last[page];
                last[page] = dice.Below(4) != 0 ? Content[page, word] : ++sequence;
                Volatile.Write(ref words[word], last[page]);
            }

            CountOperations(StepOperations);
            Thread.Sleep(1);
        }
    }

    private void Report(bool isLost)
    {
        if (isLost)
        {
            CountLost();
        }
        else
        {
            CountWrong();
        }
    }

    private void CheckQuietWord(Span<ulong> words, int page, int word)
    {
        if (Volatile.Read(ref words[word]) != Content[page, word])
        {
            CountWrong();
        }
    }
}
