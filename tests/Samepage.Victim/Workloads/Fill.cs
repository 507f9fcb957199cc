namespace Samepage.Victims;

/// <summary>Memory at rest: filled once, compared in full by <see cref="Verify"/>, never in between.</summary>
internal sealed class Fill : Workload
{
    internal Fill(VictimOptions options)
        : base("fill", options) => FillAll();

    internal override void Verify()
    {
        for (int page = 0; page < Region.Pages; page++)
        {
            Span<ulong> words = Region.Words(page);
            for (int word = 0; word < words.Length; word++)
            {
                if (words[word] != Content[page, word])
                {
                    CountWrong();
                    break;
                }
            }
        }

        CountOperations(Region.Pages);
    }

    internal override void Sabotage(ref Dice dice) =>
        Region.Words(dice.Below(Region.Pages))[dice.Below(Region.PageWords)] ^= 1;

    protected override void Run(int thread, CancellationToken stop)
    {
    }
}
