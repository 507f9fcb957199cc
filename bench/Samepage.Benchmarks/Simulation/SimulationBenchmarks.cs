using System.Diagnostics;
using System.Globalization;
using Samepage.Simulation;

namespace Samepage.Benchmarks;

/// <summary>How fast the simulated machine is, on one core, and how much memory it takes.</summary>
internal static class SimulationBenchmarks
{
    private const ulong Base = 1 << 20;

    public static int Run(string[] arguments)
    {
        if (!Benchmark.TryParse(arguments, out bool smoke))
        {
            return 2;
        }

        Benchmark.PrintHost();
        Console.WriteLine("page operations of programs and guests, one core:");
        int pages = smoke ? 1 << 12 : 1 << 20;
        int operations = smoke ? 1 << 16 : 1 << 22;
        Accesses(pages, operations);
        Faults(pages);
        Breaks(Math.Min(pages, 1 << 18));
        GuestAccesses(pages, operations);
        Histories(smoke ? 20 : 2000);
        Console.WriteLine();
        return Scale(smoke ? 100_000 : 10_000_000);
    }

    /// <summary>Reads and half-page writes of random pages, most of which miss the TLB.</summary>
    private static void Accesses(int pages, int operations)
    {
        var machine = new SimulatedMachine();
        SimulatedProcess process = Start(machine, pages, page => page);
        var random = new SeededRandom(1);
        Time("reads and writes of random pages", operations, () =>
        {
            for (int i = 0; i < operations; i++)
            {
                ulong page = Base + (ulong)random.Next(pages);
                if ((i & 1) == 0)
                {
                    process.Read(i & 3, page);
                }
                else
                {
                    process.WriteHalf(i & 3, page, i >> 1 & 1, page);
                }
            }
        });
        Require(machine.Violations.Count == 0);
    }

    /// <summary>First touches and unmapping.</summary>
    private static void Faults(int pages)
    {
        var machine = new SimulatedMachine();
        var area = new PageRange(Base, Base + (ulong)pages);
        SimulatedProcess process = machine.Start(area);
        Time("first writes (demand-zero faults) and drops", 2 * pages, () =>
        {
            process.Fill(area, page => page);
            process.Drop(area);
        });
    }

    /// <summary>Merging by the engine and copy-on-write of what it merged.</summary>
    private static void Breaks(int pages)
    {
        var machine = new SimulatedMachine();
        var engine = new Engine(machine, new Knobs(), 1);
        SimulatedProcess[] processes = [Start(machine, pages, Content), Start(machine, pages, Content)];
        foreach (SimulatedProcess process in processes)
        {
            engine.Register(process, "d");
        }

        MergeReport report = null!;
        Time("pages merged by the engine (read, digested, compared)", 2 * pages, () =>
            report = engine.Merge(null, null, CancellationToken.None));
        Require(report.PagesMerged == 2 * pages);
        Time("copies on write of merged pages", pages, () =>
        {
            for (ulong page = Base; page < Base + (ulong)pages; page++)
            {
                processes[0].WriteHalf(0, page, 0, page);
            }
        });
        Require(machine.Memory.Breaks == pages);

        static ulong Content(ulong page) => page;
    }

    /// <summary>Guests that run on a secondary MMU.</summary>
    private static void GuestAccesses(int pages, int operations)
    {
        var machine = new SimulatedMachine();
        SimulatedProcess process = Start(machine, pages, page => page);
        var area = new PageRange(Base, Base + (ulong)pages);
        var guest = new HypervisorGuest(machine, process, area, new ChangePteMmu(machine, process, area));
        var random = new SeededRandom(1);
        Time("reads and writes of a guest, exits included", operations, () =>
        {
            for (int i = 0; i < operations; i++)
            {
                ulong page = Base + (ulong)random.Next(pages);
                if ((i & 1) == 0)
                {
                    guest.Read(page);
                }
                else
                {
                    guest.WriteHalf(page, i >> 1 & 1, page);
                }
            }
        });
        Require(machine.Violations.Count == 0);
    }

    /// <summary>Whole random histories, everything checked after each tick.</summary>
    private static void Histories(int ticks)
    {
        RunResult result = null!;
        Time("ticks of a random history, checked after each", ticks, () =>
            result = new SeededRun(new RunOptions { Seed = 1, Ticks = ticks }).Go());
        Require(result.Failure is null);
    }

    /// <summary>Many pages at once: half of each process's pages are everywhere the same, the others its own.</summary>
    private static int Scale(int pages)
    {
        const int processes = 10;
        int each = pages / processes;
        long start = Stopwatch.GetTimestamp();
        var machine = new SimulatedMachine();
        var engine = new Engine(machine, new Knobs(), 1);
        var area = new PageRange(Base, Base + (ulong)each);
        for (int i = 0; i < processes; i++)
        {
            ulong own = (ulong)(i + 1) << 40;
            SimulatedProcess process = Start(machine, each, page => (page & 1) == 0 ? page : page | own);
            engine.Register(process, "d");
        }

        Line("pages filled and registered", pages, start);
        long before = machine.Memory.Frames.Used;
        start = Stopwatch.GetTimestamp();
        MergeReport report = engine.Merge(null, null, CancellationToken.None);
        Line("scanned and merged", pages, start);
        start = Stopwatch.GetTimestamp();
        for (ulong page = area.Start; page < area.End; page++)
        {
            foreach (SimulatedProcess process in machine.Processes)
            {
                process.Read(0, page);
            }
        }

        Line("read back and checked", pages, start);
        Require(machine.Violations.Count == 0);
        Require(report.PagesMerged == (long)(each / 2) * processes);
        long peak = PeakBytes();
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{pages:N0} pages: {report.PagesMerged:N0} merged, frames {before:N0} -> {machine.Memory.Frames.Used:N0}; "
            + $"peak {peak / 1e9:0.00} GB for the whole program, {peak / (double)pages:0} bytes per page"));
        return 0;
    }

    private static SimulatedProcess Start(SimulatedMachine machine, int pages, Func<ulong, ulong> word)
    {
        var area = new PageRange(Base, Base + (ulong)pages);
        SimulatedProcess process = machine.Start(area);
        process.Fill(area, word);
        return process;
    }

    private static void Time(string what, int operations, Action action)
    {
        TimeSpan cpu = Process.GetCurrentProcess().TotalProcessorTime;
        action();
        cpu = Process.GetCurrentProcess().TotalProcessorTime - cpu;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"  {what,-54} {operations / cpu.TotalSeconds / 1e6,8:0.000} M/s of CPU time"));
    }

    private static void Line(string what, int pages, long start) => Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{what,-30} {Stopwatch.GetElapsedTime(start).TotalSeconds,8:0.0} s, "
        + $"{pages / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e6:0.00} M pages/s"));

    private static long PeakBytes()
    {
        string line = File.ReadLines("/proc/self/status").First(each => each.StartsWith("VmHWM", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024;
    }

    private static void Require(bool condition)
    {
        if (!condition)
        {
            throw new InvalidOperationException("the simulation did not do what is measured");
        }
    }
}
