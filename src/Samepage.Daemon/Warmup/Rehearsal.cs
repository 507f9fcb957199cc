using Microsoft.AspNetCore.Http;
using Samepage.Daemon.Api;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Warmup;

/// <summary>
/// Goes once, on a small machine in memory that nobody else sees, through what a first merge goes through, so that the code
/// is compiled when it is needed: a first merge spent a tenth of a second on that. Begins with the first attach, because a
/// daemon without targets should stay small, and runs beside it on a thread of its own.
/// </summary>
internal static class Rehearsal
{
    private static int begun;

    /// <summary>Begins it unless it has begun before.</summary>
    public static void Begin()
    {
        if (Interlocked.Exchange(ref begun, 1) == 0)
        {
            new Thread(Run) { IsBackground = true, Name = "rehearsal" }.Start();
        }
    }

    /// <summary>The rehearsal itself.</summary>
    internal static MergeReport Merge()
    {
        var machine = new RehearsalMachine();
        var engine = new Engine(machine, new Knobs(), seed: 1);
        var targets = new[] { machine.Start(1), machine.Start(2) };
        foreach (var target in targets)
        {
            engine.Register(target, "rehearsal");
        }

        var report = engine.Merge(null, new Ignored(), CancellationToken.None);
        _ = engine.Step();
        _ = engine.Status();
        return report;
    }

    private static void Run()
    {
        try
        {
            var report = Merge();
            var line = new StreamLine { Merged = Snapshot.Merge(report) };
            new ProgressStream(progress =>
            {
                progress.Report(new EngineProgress("rehearsal", 1, 2));
                return Task.FromResult(line);
            }).ExecuteAsync(new DefaultHttpContext()).GetAwaiter().GetResult();
        }
#pragma warning disable CA1031 // Whatever is wrong will show, with somebody to tell it to, in the first real merge.
        catch (Exception)
#pragma warning restore CA1031
        {
        }
    }

    private sealed class Ignored : IProgress<EngineProgress>
    {
        public void Report(EngineProgress value)
        {
        }
    }
}
