using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Samepage.Cli.Output;

/// <summary>The status document as text, without the serializer: it is what takes time in a process this short.</summary>
internal static class StatusText
{
    internal static byte[] Of(byte[] json)
    {
        using var document = JsonDocument.Parse(json);
        var status = document.RootElement;
        var text = new StringBuilder();
        var sharing = Number(status, "pages_sharing");
        var zero = Number(status, "zero_pages");
        Line(text, "run", Run(Number(status, "run")));
        Line(text, "targets", Count(status, "targets") + " in " + Domains(status));
        Line(text, "saved", Bytes(status, "bytes_saved") + $"  ({Amounts.Count(sharing)} pages sharing, "
            + $"{Amounts.Count(zero)} zero pages)");
        Line(text, "profit", Bytes(status, "profit_bytes") + $"  (own tables: {Bytes(status, "metadata_bytes")})");
        Line(text, "pages shared", Count(status, "pages_shared"));
        Line(text, "pages unshared", Count(status, "pages_unshared"));
        Line(text, "pages volatile", Count(status, "pages_volatile"));
        Line(text, "full scans", Count(status, "full_scans") + $"  ({Count(status, "pages_scanned")} pages scanned)");
        Line(text, "CPU", Real(status, "cpu_seconds") + " s  (daemon up " + Real(status, "uptime_seconds") + " s)");
        Line(text, "stops", Stops(status.GetProperty("stop_times")));
        foreach (var reason in status.GetProperty("not_merged").EnumerateObject())
        {
            Line(text, "not merged", $"{Amounts.Count(reason.Value.GetInt64())} pages: {reason.Name}");
        }

        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private static void Line(StringBuilder text, string name, string value) =>
        text.Append(name.PadRight(16)).Append(value).Append('\n');

    private static string Run(long run) => run switch
    {
        0 => "0  (stopped; what is merged stays merged)",
        1 => "1  (merging)",
        _ => "2  (stopped and un-merged)",
    };

    private static string Domains(JsonElement status)
    {
        var names = status.GetProperty("domains").EnumerateArray()
            .Select(domain => domain.GetProperty("name").GetString()).ToList();
        return names.Count == 1 ? $"domain {names[0]}" : $"{names.Count} domains";
    }

    private static string Stops(JsonElement stops) => Count(stops, "count") is var count && count == "0"
        ? "none"
        : $"{count}  (p50 {Real(stops, "p50_microseconds")} us, p99 {Real(stops, "p99_microseconds")} us, "
            + $"max {Real(stops, "max_microseconds")} us)";

    private static long Number(JsonElement parent, string name) => parent.GetProperty(name).GetInt64();

    private static string Count(JsonElement parent, string name) => Amounts.Count(Number(parent, name));

    private static string Bytes(JsonElement parent, string name) => Amounts.Bytes(Number(parent, name));

    private static string Real(JsonElement parent, string name) =>
        parent.GetProperty(name).GetDouble().ToString("0.0", CultureInfo.InvariantCulture);
}
