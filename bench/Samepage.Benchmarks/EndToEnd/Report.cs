using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>Figures of one run: printed as they come, written as Markdown and JSON at the end.</summary>
internal sealed class Report
{
    private readonly List<Figure> _figures = [];
    private readonly List<Ratio> _ratios = [];

    /// <summary>One measured value.</summary>
    private sealed record Figure(string Part, string What, string Who, double Value, string Unit);

    /// <summary>Ours against ksmd's; better is larger.</summary>
    private sealed record Ratio(string Part, string What, double Value, double? Bar);

    /// <summary>Adds a value.</summary>
    /// <param name="part">Letter or name of the benchmark.</param>
    /// <param name="what">What was measured.</param>
    /// <param name="who">Which engine, or "" where there is only one.</param>
    /// <param name="value">The value.</param>
    /// <param name="unit">Its unit.</param>
    public void Add(string part, string what, string who, double value, string unit)
    {
        var figure = new Figure(part, what, who, value, unit);
        _figures.Add(figure);
        Console.WriteLine($"{part,-10} {what,-44} {who,-18} {Text(value),12} {unit}");
    }

    /// <summary>Adds how many times better ours is, and what it should be.</summary>
    public void AddRatio(string part, string what, double value, double? bar)
    {
        _ratios.Add(new Ratio(part, what, value, bar));
        Console.WriteLine($"{part,-10} {what,-44} {"ratio",-18} {Text(value),12} x{Bar(value, bar)}");
    }

    /// <summary>Writes the run to bench/results; gives the path of the Markdown file.</summary>
    /// <param name="smoke">Small sizes: says so, and nothing is to be concluded from it.</param>
    /// <param name="extra">Other output of the run, kept as it is.</param>
    /// <param name="folder">Where to write.</param>
    public string Write(bool smoke, string extra, string folder)
    {
        var host = Host.Read();
        folder = Path.Combine(folder, host.Folder);
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, $"{host.Date:yyyy-MM-dd}{(smoke ? "-smoke" : "")}");
        File.WriteAllText(path + ".json", Json(host, smoke));
        File.WriteAllText(path + ".md", Markdown(host, smoke, extra));
        return path + ".md";
    }

    private string Markdown(Host host, bool smoke, string extra)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"# {host.Date:yyyy-MM-dd}{(smoke ? ", smoke sizes" : "")}");
        text.AppendLine();
        text.AppendLine(
            CultureInfo.InvariantCulture,
            $"{host.Processor}, {host.Cpus} CPUs, {host.MemoryMebibytes} MiB; Linux {host.Kernel};");
        text.AppendLine(
            CultureInfo.InvariantCulture,
            $".NET {host.Runtime}; commit {host.Commit}; load average at the start {host.Load}.");
        text.AppendLine("What each part does and what limits it: [README](../../README.md).");
        text.AppendLine();
        text.AppendLine("| part | times better than ksmd in | ratio | wanted | |");
        text.AppendLine("|---|---|---:|---:|---|");
        foreach (var ratio in _ratios)
        {
            var met = ratio.Bar is null ? "" : ratio.Value >= ratio.Bar ? "met" : "missed";
            text.AppendLine(CultureInfo.InvariantCulture,
                $"| {ratio.Part} | {ratio.What} | {Text(ratio.Value)} | {ratio.Bar} | {met} |");
        }

        text.AppendLine();
        text.AppendLine("| part | what | who | value | unit |");
        text.AppendLine("|---|---|---|---:|---|");
        foreach (var figure in _figures)
        {
            text.AppendLine($"| {figure.Part} | {figure.What} | {figure.Who} | {Text(figure.Value)} | {figure.Unit} |");
        }

        if (extra.Length > 0)
        {
            text.AppendLine().AppendLine("Digest and index:").AppendLine().AppendLine("```");
            text.Append(extra).AppendLine("```");
        }

        return text.ToString();
    }

    private string Json(Host host, bool smoke)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("date", host.Date);
            json.WriteBoolean("smoke", smoke);
            json.WriteString("processor", host.Processor);
            json.WriteNumber("cpus", host.Cpus);
            json.WriteNumber("memory_mebibytes", host.MemoryMebibytes);
            json.WriteString("kernel", host.Kernel);
            json.WriteString("dotnet", host.Runtime);
            json.WriteString("commit", host.Commit);
            json.WriteString("load_average", host.Load);
            json.WriteStartArray("ratios");
            foreach (var ratio in _ratios)
            {
                json.WriteStartObject();
                json.WriteString("part", ratio.Part);
                json.WriteString("what", ratio.What);
                json.WriteNumber("ratio", Finite(ratio.Value));
                if (ratio.Bar is { } bar)
                {
                    json.WriteNumber("wanted", bar);
                }

                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("figures");
            foreach (var figure in _figures)
            {
                json.WriteStartObject();
                json.WriteString("part", figure.Part);
                json.WriteString("what", figure.What);
                json.WriteString("who", figure.Who);
                json.WriteNumber("value", Finite(figure.Value));
                json.WriteString("unit", figure.Unit);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }

    private static double Finite(double value) => double.IsFinite(value) ? value : -1;

    private static string Bar(double value, double? bar) =>
        bar is null ? "" : $"  ({(value >= bar ? "met" : "missed")}: {bar} wanted)";

    private static string Text(double value)
    {
        var format = Math.Abs(value) < 10 ? "0.###" : Math.Abs(value) < 1000 ? "0.0" : "#,0";
        return value.ToString(format, CultureInfo.InvariantCulture);
    }
}
