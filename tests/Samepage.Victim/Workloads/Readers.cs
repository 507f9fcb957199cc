namespace Samepage.Victims;

/// <summary>Reads all over a region nobody writes.</summary>
internal sealed class Readers : Workload
{
    private const int StepOperations = 10000;

    internal Readers(VictimOptions options)
        : base("readers", options) => FillAll();

    // Few words, so that a reader meets the damage soon.
    internal override void Sabotage(ref Dice dice) => Region.Words(dice.Below(Region.Pages))[dice.Below(8)] ^= 1;

    protected override void Run(int thread, CancellationToken stop)
    {
        var dice = new Dice(Options.Seed + (ulong)thread);
        while (!stop.IsCancellationRequested)
        {
            for (int i = 0; i < StepOperations; i++)
            {
                int page = dice.Below(Region.Pages);
                int word = dice.Below(Region.PageWords);
                if (Volatile.Read(ref Region.Words(page)[word]) != Content[page, word])
                {
                    CountWrong();
                }
            }

            CountOperations(StepOperations);
            Thread.Sleep(1);
        }
    }
}
