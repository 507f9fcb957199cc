using System.Globalization;

namespace Samepage.Examples;

/// <summary>What the user asked for.</summary>
internal sealed record Options(string Socket, int Workers, int Mebibytes)
{
    internal static Options Parse(string[] args)
    {
        var options = new Options(SamepageClient.DefaultSocket, 2, 16);
        for (int i = 0; i < args.Length; i += 2)
        {
            string value = i + 1 < args.Length ? args[i + 1] : throw new ArgumentException($"{args[i]} needs a value");
            options = args[i] switch
            {
                "--socket" => options with { Socket = value },
                "--workers" => options with { Workers = Number(args[i], value, 2, 100) },
                "--mebibytes" => options with { Mebibytes = Number(args[i], value, 1, 1024) },
                _ => throw new ArgumentException(
                    $"there is no option {args[i]}: --socket PATH, --workers N, --mebibytes M"),
            };
        }

        return options;
    }

    private static int Number(string name, string text, int least, int most) =>
        int.TryParse(text, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most
            ? number
            : throw new ArgumentException($"{name} is a number from {least} to {most}, not \"{text}\"");
}
