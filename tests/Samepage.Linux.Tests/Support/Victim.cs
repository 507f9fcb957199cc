using System.Globalization;

namespace Samepage.Linux.Tests.Support;

/// <summary>
/// A running program that checks its own memory while somebody merges it. The common base of the C# victim
/// (<see cref="Start"/>) and of those in C (<see cref="CVictim"/>): the same conversation with both.
/// </summary>
internal class Victim : IDisposable
{
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(60);
    private readonly DetachedProcess process;

    protected Victim(DetachedProcess process)
    {
        this.process = process;
        var regions = new List<PageRange>();
        Pid = process.Pid;
        try
        {
            process.ReadLine("ready", AnswerTime, line => ReadFact(line, regions));
        }
        catch
        {
            process.Dispose();
            throw;
        }

        Regions = regions;
    }

    /// <summary>The process to merge; not always the one that was started (see Victims/stopped.c).</summary>
    public int Pid { get; private set; }

    /// <summary>The regions it announced, in that order: candidates for merging whose every byte it checks.</summary>
    public IReadOnlyList<PageRange> Regions { get; }

    public bool IsAlive => process.IsAlive;

    /// <summary>Starts tests/Samepage.Victim: <c>Start("--mode", "writers,churn", "--pages", "4096")</c>.</summary>
    public static Victim Start(params string[] arguments) =>
        new(DetachedProcess.Start("dotnet", ["exec", TestPaths.VictimAssembly, .. arguments]));

    public void Send(string line) => process.Send(line);

    /// <summary>What it has seen so far; it goes on.</summary>
    public VictimReport Report()
    {
        process.Send("report");
        return ReadReport();
    }

    /// <summary>Waits until it has done that many more checked operations.</summary>
    public VictimReport RunFor(long operations, TimeSpan timeout)
    {
        var watch = System.Diagnostics.Stopwatch.StartNew();
        long goal = Report().Operations + operations;
        for (; ; Thread.Sleep(50))
        {
            VictimReport report = Report();
            if (report.Operations >= goal)
            {
                return report;
            }

            if (watch.Elapsed > timeout)
            {
                throw new TimeoutException($"only {report.Operations} operations of {goal} in {timeout}");
            }
        }
    }

    /// <summary>Ends it; its last report, and the exit code it judged itself with (0 = nothing wrong).</summary>
    public (VictimReport Report, int ExitCode) Quit()
    {
        process.Send("quit");
        VictimReport report = ReadReport();
        return (report, process.WaitForExit(AnswerTime));
    }

    public void Dispose()
    {
        process.Dispose();
        GC.SuppressFinalize(this);
    }

    private VictimReport ReadReport()
    {
        var details = new List<string>();
        return VictimReport.Parse(process.ReadLine("ops=", AnswerTime, details.Add), details);
    }

    private void ReadFact(string line, List<PageRange> regions)
    {
        string[] words = line.Split(' ');
        if (words is ["region", var start, var end, ..])
        {
            regions.Add(PageRange.FromAddresses(
                ulong.Parse(start, NumberStyles.HexNumber, CultureInfo.InvariantCulture),
                ulong.Parse(end, NumberStyles.HexNumber, CultureInfo.InvariantCulture)));
        }
        else if (words is ["child", var child])
        {
            Pid = int.Parse(child, CultureInfo.InvariantCulture);
        }
    }
}
