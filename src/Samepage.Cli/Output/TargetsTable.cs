using Samepage.Daemon.Api;

namespace Samepage.Cli.Output;

/// <summary>Attached processes as a table.</summary>
internal static class TargetsTable
{
    internal static void Print(Terminal terminal, TargetsDocument targets)
    {
        if (targets.Targets.Count == 0)
        {
            terminal.Out.WriteLine("No process is attached.");
            return;
        }

        Table.Print(
            terminal,
            ["PID", "Name", "Domain", "Registered", "Present", "Merged", "Zero", "Saved", "VMAs", "Mostly not merged"],
            targets.Targets.Select(target => new[]
            {
                target.Pid.ToString(System.Globalization.CultureInfo.InvariantCulture),
                target.Name,
                target.Domain,
                Pages(target.RegisteredPages),
                Pages(target.PresentPages),
                Pages(target.MergedPages),
                Pages(target.ZeroPages),
                Amounts.Bytes(target.BytesSaved),
                Amounts.Count(target.Vmas),
                MostFrequent(target.NotMerged),
            }),
            textColumns: 3);
    }

    private static string Pages(long pages) => Amounts.Bytes(pages * PageSize.Bytes);

    private static string MostFrequent(IReadOnlyDictionary<string, long> reasons)
    {
        var most = reasons.OrderByDescending(reason => reason.Value).FirstOrDefault();
        return most.Value == 0 ? "-" : $"{most.Key} {Pages(most.Value)}";
    }
}
