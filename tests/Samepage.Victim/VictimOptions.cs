using System.Globalization;

namespace Samepage.Victims;

/// <summary>The command line of the victim.</summary>
internal sealed record VictimOptions(IReadOnlyList<string> Modes, int Pages, int Threads, ulong Seed, bool IsBroken)
{
    public static VictimOptions Parse(string[] args)
    {
        var options = new VictimOptions(["writers"], 4096, 2, 1, false);
        for (int i = 0; i < args.Length; i++)
        {
            string Value() => ++i < args.Length ? args[i] : throw new ArgumentException($"{args[^1]} needs a value");
            options = args[i] switch
            {
                "--broken" => options with { IsBroken = true },
                "--mode" => options with { Modes = Value().Split(',') },
                "--pages" => options with { Pages = Number(Value(), 64, 1 << 22) },
                "--threads" => options with { Threads = Number(Value(), 1, 64) },
                "--seed" => options with { Seed = (ulong)Number(Value(), 0, int.MaxValue) },
                _ => throw new ArgumentException($"unknown option {args[i]}"),
            };
        }

        return options;
    }

    private static int Number(string text, int least, int most) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) &&
        number >= least && number <= most
            ? number
            : throw new ArgumentException($"'{text}' is no number from {least} to {most}");
}
