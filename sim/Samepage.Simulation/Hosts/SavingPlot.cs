using System.Globalization;
using System.Text;

namespace Samepage.Simulation.Hosts;

/// <summary>Saving over time as an SVG picture that needs nothing else to be looked at.</summary>
public static class SavingPlot
{
    private const int Width = 900, Height = 480, Left = 80, Right = 20, Top = 20, Bottom = 110;
    private static readonly string[] Colours = ["#b00020", "#d07000", "#7a3db8", "#607080", "#006030"];

    /// <summary>Draws it.</summary>
    public static string Draw(HostResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        double most = Math.Max(result.PossibleBytes, result.Mergers.Max(merger => merger.Points.Max(point => point.SavedBytes)));
        double gib = Math.Max(most / (1 << 30) * 1.05, 1e-3);
        double hours = result.Seconds / 3600;
        var text = new StringBuilder();
        text.AppendLine(Invariant($"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\" font-family=\"sans-serif\" font-size=\"13\">"));
        text.AppendLine(Invariant($"<rect width=\"{Width}\" height=\"{Height}\" fill=\"white\"/>"));
        Axes(text, hours, gib);
        Line(text, "#999999", [(0, result.PossibleBytes / (1 << 30)), (hours, result.PossibleBytes / (1 << 30))], hours, gib, "5,4");
        Legend(text, 0, "#999999", "possible at the end");
        for (int i = 0; i < result.Mergers.Count; i++)
        {
            MergerResult merger = result.Mergers[i];
            string colour = Colours[i % Colours.Length];
            Line(text, colour, merger.Points.Select(point => (point.Seconds / 3600, point.SavedBytes / (1 << 30))), hours, gib, "");
            Legend(text, i + 1, colour, merger.Name);
        }

        text.AppendLine("</svg>");
        return text.ToString();
    }

    private static void Axes(StringBuilder text, double hours, double gib)
    {
        for (int i = 0; i <= 5; i++)
        {
            double y = Y(gib * i / 5, gib), x = X(hours * i / 5, hours);
            text.AppendLine(Invariant($"<path d=\"M{Left},{y:0.0} H{Width - Right}\" stroke=\"#e4e4e4\"/>"));
            text.AppendLine(Invariant($"<text x=\"{Left - 8}\" y=\"{y + 4:0.0}\" text-anchor=\"end\">{gib * i / 5:0.##}</text>"));
            text.AppendLine(Invariant($"<text x=\"{x:0.0}\" y=\"{Height - Bottom + 18}\" text-anchor=\"middle\">{hours * i / 5:0.###}</text>"));
        }

        text.AppendLine(Invariant($"<text x=\"{Width - Right}\" y=\"{Height - Bottom + 36}\" text-anchor=\"end\">hours</text>"));
        text.AppendLine(Invariant($"<text x=\"14\" y=\"{Top + 4}\">GiB</text>"));
    }

    private static void Line(
        StringBuilder text, string colour, IEnumerable<(double Hours, double Gib)> points, double hours, double gib,
        string dash)
    {
        string path = string.Join(' ', points.Select(point => Invariant($"{X(point.Hours, hours):0.0},{Y(point.Gib, gib):0.0}")));
        text.AppendLine($"<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\" points=\"{path}\"/>");
    }

    private static void Legend(StringBuilder text, int place, string colour, string name)
    {
        int x = Left + (place % 3 * 270), y = Height - Bottom + 58 + (place / 3 * 22);
        text.AppendLine(Invariant($"<rect x=\"{x}\" y=\"{y - 9}\" width=\"18\" height=\"4\" fill=\"{colour}\"/>"));
        text.AppendLine(Invariant($"<text x=\"{x + 24}\" y=\"{y}\">{name}</text>"));
    }

    private static double X(double hours, double most) => Left + ((Width - Left - Right) * hours / most);

    private static double Y(double gib, double most) => Height - Bottom - ((Height - Top - Bottom) * gib / most);

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
