using System.Globalization;
using System.Text;

namespace Samepage.Daemon.Api;

/// <summary>
/// The status document as text for people. Made here and not in the command line: the daemon's code is warm, while
/// <c>samepage status</c> would spend a quarter of its time on loading a JSON reader.
/// </summary>
internal static class StatusText
{
    internal static string Of(StatusDocument status)
    {
        var text = new StringBuilder();
        Line(text, "run", Run(status.Run));
        Line(text, "targets", $"{Amounts.Count(status.Targets)} in {Domains(status)}");
        Line(text, "saved", $"{Amounts.Bytes(status.BytesSaved)}  ({Amounts.Count(status.PagesSharing)} pages sharing, "
            + $"{Amounts.Count(status.ZeroPages)} zero pages)");
        Line(text, "profit", Amounts.Bytes(status.ProfitBytes)
            + $"  (own tables: {Amounts.Bytes(status.MetadataBytes)})");
        Line(text, "pages shared", Amounts.Count(status.PagesShared));
        Line(text, "pages unshared", Amounts.Count(status.PagesUnshared));
        Line(text, "pages volatile", Amounts.Count(status.PagesVolatile));
        Line(text, "full scans", Amounts.Count(status.FullScans)
            + $"  ({Amounts.Count(status.PagesScanned)} pages scanned)");
        Line(text, "CPU", $"{Real(status.CpuSeconds)} s  (daemon up {Real(status.UptimeSeconds)} s)");
        Line(text, "stops", Stops(status.StopTimes));
        foreach (var (reason, pages) in status.NotMerged)
        {
            Line(text, "not merged", $"{Amounts.Count(pages)} pages: {reason}");
        }

        return text.ToString();
    }

    private static void Line(StringBuilder text, string name, string value) =>
        text.Append(name.PadRight(16)).Append(value).Append('\n');

    private static string Run(int run) => run switch
    {
        0 => "0  (stopped; what is merged stays merged)",
        1 => "1  (merging)",
        _ => "2  (stopped and un-merged)",
    };

    private static string Domains(StatusDocument status) =>
        status.Domains.Count == 1 ? $"domain {status.Domains[0].Name}" : $"{status.Domains.Count} domains";

    private static string Stops(StopTimes stops) => stops.Count == 0
        ? "none"
        : $"{Amounts.Count(stops.Count)}  (p50 {Real(stops.P50Microseconds)} us, "
            + $"p99 {Real(stops.P99Microseconds)} us, max {Real(stops.MaxMicroseconds)} us)";

    private static string Real(double value) => value.ToString("0.0", CultureInfo.InvariantCulture);
}
