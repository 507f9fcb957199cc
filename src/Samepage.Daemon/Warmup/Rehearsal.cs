using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Samepage.Daemon.Api;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Warmup;

/// <summary>
/// Goes once, on a small machine in memory that nobody else sees, through what a first merge goes through, so that the code
/// is compiled when it is needed: a first merge spent a tenth of a second on that. Begins with the first attach, because a
/// daemon without targets should stay small, and runs beside it on a thread of its own. The attach is answered when
/// it is through, so that it does not take the processor from the targets of the merge that follows.
/// </summary>
internal static class Rehearsal
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(1);
    private static readonly ManualResetEventSlim Over = new();
    private static int begun;

    /// <summary>Begins it unless it has begun before.</summary>
    public static void Begin()
    {
        if (Interlocked.Exchange(ref begun, 1) == 0)
        {
            new Thread(Run) { IsBackground = true, Name = "rehearsal" }.Start();
        }
    }

    /// <summary>Waits for its end, if it has begun, but not for long.</summary>
    public static void Await()
    {
        if (Volatile.Read(ref begun) != 0)
        {
            Over.Wait(Limit);
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
        foreach (var written in (ReadOnlySpan<ulong>)[5000, 100])
        {
            targets[0].Write(written);
            targets[1].Write(written);
            _ = engine.Merge([.. engine.Targets], new Ignored(), CancellationToken.None);
        }

        _ = engine.Step();
        _ = engine.Status();
        return report;
    }

    private static void Run()
    {
        try
        {
            var report = Merge();
            _ = JsonSerializer.Deserialize("""{"pids":[1]}"""u8, ApiJson.Default.SelectionBody);
            Answer(new StreamLine { Merged = Snapshot.Merge(report) }).GetAwaiter().GetResult();
        }
#pragma warning disable CA1031 // Whatever is wrong will show, with somebody to tell it to, in the first real merge.
        catch (Exception)
#pragma warning restore CA1031
        {
        }
        finally
        {
            Over.Set();
        }
    }

    // In pieces, with waits between them, as it comes when there is something to do.
    private static Task Answer(StreamLine line) => new ProgressStream(async progress =>
    {
        await Task.Yield();
        for (var i = 0; i < 2; i++)
        {
            progress.Report(new EngineProgress("rehearsal", 1, 2));
            await Task.Delay(2).ConfigureAwait(false);
        }

        return line;
    }).ExecuteAsync(new DefaultHttpContext());

    private sealed class Ignored : IProgress<EngineProgress>
    {
        public void Report(EngineProgress value)
        {
        }
    }
}
