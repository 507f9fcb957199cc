using Microsoft.Extensions.Logging;
using Samepage.Daemon.Api;
using Samepage.Linux.Interception;
using Samepage.Linux.Interop;

namespace Samepage.Daemon.Loop;

/// <summary>
/// What requests mean: owns the engine and the attached targets. Lives on the loop's thread and is used by nobody else.
/// A request that is refused has changed nothing.
/// </summary>
public sealed partial class Supervisor : IDisposable
{
    /// <summary>Most processes that can be attached at once.</summary>
    public const int TargetsMax = 4096;

    private static readonly PageRange Everything = new(0, 1UL << 35);

    private readonly ITargetProvider provider;
    private readonly IStateKeeper keeper;
    private readonly EventHub events;
    private readonly ILogger log;
    private readonly Action serveLookers;
    private readonly Engine engine;
    private readonly FollowedProcesses followed;
    private readonly RequestedTargets? requested;

    /// <summary>Opens with what the keeper has kept and what an earlier daemon left behind.</summary>
    /// <param name="provider">Where targets come from; disposed with this.</param>
    /// <param name="keeper">Where registrations survive the daemon.</param>
    /// <param name="events">Told what happens.</param>
    /// <param name="log">Log.</param>
    /// <param name="serveLookers">Called in the middle of long work, when counters are consistent.</param>
    /// <param name="seed">Seed of the digests: secret and new for every daemon.</param>
    /// <param name="runsChanged">Has <see cref="CarryOutRequests"/> called soon; may come from any thread.</param>
    public Supervisor(
        ITargetProvider provider,
        IStateKeeper keeper,
        EventHub events,
        ILogger log,
        Action serveLookers,
        ulong seed,
        Action? runsChanged = null)
    {
        ArgumentNullException.ThrowIfNull(provider);
        this.provider = provider;
        this.keeper = keeper;
        this.events = events;
        this.log = log;
        this.serveLookers = serveLookers;
        engine = new Engine(provider.Machine, new Knobs(), seed);
        followed = new FollowedProcesses(TryAttachFollowed);
        new SavedRegistrations(this, keeper, provider, log).Restore();
        if (provider.OpenRuns(runsChanged ?? (() => { })) is { } runs)
        {
            requested = new RequestedTargets(this, provider, runs, log);
        }
    }

    internal Engine Engine => engine;

    internal FollowedProcesses Followed => followed;

    internal bool HasTargets => engine.Targets.Count > 0 || followed.Any || requested?.Runs.Any == true;

    /// <summary>Commands under <c>samepage run</c>.</summary>
    internal CommandRuns Runs => requested?.Runs
        ?? throw new RequestException(ExitCode.HostNotSupported, "this daemon cannot watch over commands");

    internal TimeSpan Step() => engine.Step();

    /// <summary>Notices targets that have ended and children that have appeared.</summary>
    internal void Housekeep()
    {
        var changed = ForgetEnded();
        changed |= followed.Look(pid => Find(pid) is not null);
        changed |= requested?.LookAround() == true;
        if (changed)
        {
            Save();
        }
    }

    internal TargetDocument Attach(int pid, string? domain, IReadOnlyList<PageRange>? ranges, bool followChildren)
    {
        var target = Register(pid, domain, ranges);
        if (followChildren)
        {
            followed.Add(pid, domain);
        }

        Save();
        return Snapshot.Target(target, followChildren);
    }

    internal UnmergeDocument Detach(int pid, IProgress<EngineProgress>? progress, CancellationToken cancel)
    {
        var target = Find(pid) ?? throw NotAttached(pid);
        var report = Unmerge([target], progress, cancel);
        if (target.Target.IsAlive && !report.Complete)
        {
            throw new RequestException(ExitCode.Failed, CancelledOrLeft(target, report));
        }

        EndPageEvents(target.Target);
        provider.Detach(target.Target);
        engine.Unregister(target);
        followed.Forget(pid);
        Tell("detached", $"process {pid} ({target.Target.Name}) is detached", pid);
        Save();
        return Snapshot.Unmerge(report, [target]);
    }

    internal MergeDocument Merge(
        IReadOnlyList<int>? pids, IProgress<EngineProgress>? progress, CancellationToken cancel)
    {
        if (engine.Knobs.Run == 2)
        {
            throw new RequestException(ExitCode.Failed, "run is 2 (un-merged): set run=1 or run=0 before merging");
        }

        var report = engine.Merge(Select(pids), Watched(progress), cancel);
        Tell("merged", $"{report.PagesMerged} pages merged, {report.ZeroPages} zero pages, "
            + $"{report.BytesSaved} bytes saved in {report.Elapsed.TotalSeconds:0.000} s", null);
        return Snapshot.Merge(report);
    }

    internal UnmergeDocument Unmerge(
        IReadOnlyList<int>? pids, IProgress<EngineProgress>? progress, CancellationToken cancel)
    {
        var targets = Select(pids);
        var report = Unmerge(targets, progress, cancel);
        Tell("unmerged", $"{report.PagesUnmerged} pages un-merged, {report.PagesLeft} left", null);
        return Snapshot.Unmerge(report, targets ?? engine.Targets);
    }

    internal StatusDocument Status() => Snapshot.Status(engine.Status(), engine.Targets.Count, provider.StopTimes());

    internal TargetsDocument List() =>
        new([.. engine.Targets.Where(target => target.Target.IsAlive)
            .Select(target => Snapshot.Target(target, followed.Contains(target.Target.Pid)))]);

    internal TargetDocument Get(int pid) =>
        Snapshot.Target(Find(pid) ?? throw NotAttached(pid), followed.Contains(pid));

    internal KnobsDocument Knobs() => new([.. engine.Knobs.All.Select(Knob)]);

    internal KnobDocument Knob(string name)
    {
        var info = engine.Knobs.All.FirstOrDefault(info => info.Name == name);
        return info is not null ? Knob(info) : throw UnknownKnob(name);
    }

    internal KnobDocument SetKnob(string name, string value, CancellationToken cancel)
    {
        if (!engine.Knobs.TrySet(name, value, out var error))
        {
            throw new RequestException(ExitCode.Usage, error);
        }

        Save();
        Tell("knob", $"{name} is {engine.Knobs.Get(name)}", null);
        if (engine.Knobs.Run == 2 && name == "run")
        {
            var left = UnmergeAll(cancel);
            if (left > 0)
            {
                throw new RequestException(
                    ExitCode.Failed, $"{left} pages could not be un-merged, so run is 0: set it to 2 again");
            }
        }

        return Knob(name);
    }

    /// <summary>Sets knobs to values that a file of KSM's accepts (<see cref="AdminFiles.ModernFiles"/>).</summary>
    /// <returns>0, as an error number.</returns>
    internal int Store(Action<Knobs> change)
    {
        change(engine.Knobs);
        Save();
        return 0;
    }

    /// <summary>A write to a run file in which 2 un-merges.</summary>
    /// <returns>0 or an error number; run is 0 after an error, as it is with KSM.</returns>
    internal int StoreRun(int run, CancellationToken interrupted)
    {
        engine.Knobs.Run = run;
        Save();
        Tell("knob", $"run is {run}", null);
        return run != 2 || UnmergeAll(interrupted) == 0 ? 0
            : interrupted.IsCancellationRequested ? Errno.EINTR : Errno.EBUSY;
    }

    /// <summary>The un-merging of run=2.</summary>
    /// <returns>Pages that are left; run is 0 then.</returns>
    private long UnmergeAll(CancellationToken cancel)
    {
        var report = engine.UnmergeAll(Watched(null), cancel);
        if (report.Complete)
        {
            return 0;
        }

        engine.Knobs.Run = 0;
        Save();
        return report.PagesLeft;
    }

    internal RegisteredTarget? Find(int pid) => engine.Targets.FirstOrDefault(target => target.Target.Pid == pid);

    internal RegisteredTarget Register(int pid, string? domain, IReadOnlyList<PageRange>? ranges)
    {
        if (pid <= 0)
        {
            throw new RequestException(ExitCode.Usage, $"{pid} is not a process id: give a positive number");
        }

        if (pid == Environment.ProcessId)
        {
            throw new RequestException(ExitCode.Failed, $"process {pid} is this daemon, which cannot stop itself");
        }

        if (Find(pid) is { } attached && attached.Target.IsAlive)
        {
            throw new RequestException(
                ExitCode.Failed, $"process {pid} is attached already: detach it first to change its domain or ranges");
        }

        if (engine.Targets.Count >= TargetsMax)
        {
            throw new RequestException(ExitCode.Failed, $"{TargetsMax} processes are attached: detach some first");
        }

        ForgetEnded();
        Warmup.Rehearsal.Begin();
        domain ??= provider.DefaultDomain(pid);
        var target = provider.Attach(pid, domain, ranges);
        var registered = Register(target, domain, ranges);
        Warmup.Rehearsal.Await();
        Tell("attached", $"process {pid} ({target.Name}) is attached in domain {registered.Domain}", pid);
        return registered;
    }

    /// <summary>Takes a process under care that has asked for it by itself, for the pages it named.</summary>
    internal RegisteredTarget RegisterRequested(int pid, string? domain, IReadOnlyList<PageRange>? pages)
    {
        // At the machine without any ranges: they change with every call, and the next daemon learns them from the run.
        var target = Register(pid, domain, []);
        provider.ListAgain(target.Target, pages ?? [Everything]);
        engine.SetRanges(target, pages);
        return target;
    }

    /// <summary>Carries out what programs have asked for by KSM's own calls.</summary>
    internal void CarryOutRequests()
    {
        if (requested?.CarryOut() == true)
        {
            Save();
        }
    }

    /// <summary>True when a process is attached because it asked for it by itself.</summary>
    internal bool IsRequested(int pid) => requested?.Owns(pid) == true;

    /// <summary>The daemon ends on purpose.</summary>
    internal void Close(bool unmerge)
    {
        if (unmerge)
        {
            foreach (var target in engine.Targets.ToList())
            {
                DetachAtEnd(target);
            }
        }

        Save();
        keeper.Goodbye();
    }

    /// <inheritdoc/>
    public void Dispose() => provider.Dispose();

    private RegisteredTarget Register(ITarget target, string domain, IReadOnlyList<PageRange>? ranges)
    {
        try
        {
            return engine.Register(target, domain, ranges);
        }
        catch
        {
            provider.Detach(target);
            throw;
        }
    }

    private bool ForgetEnded()
    {
        var ended = engine.Targets.Where(target => !target.Target.IsAlive).ToList();
        foreach (var target in ended)
        {
            EndPageEvents(target.Target);
            provider.Detach(target.Target);
            engine.Unregister(target);
            Tell("exited", $"process {target.Target.Pid} ({target.Target.Name}) has ended", target.Target.Pid);
            // An execve can come between a request and the look at whether its memory is still there: then what the
            // new program has asked for went to the old one's memory, and is to be carried out again.
            requested?.Runs.Lost(target.Target.Pid);
        }

        return ended.Count > 0;
    }

    private void DetachAtEnd(RegisteredTarget target)
    {
        try
        {
            Detach(target.Target.Pid, null, CancellationToken.None);
        }
        catch (RequestException error)
        {
            log.LogError("Not detached at exit: {Reason}", error.Message);
        }
    }

    private UnmergeReport Unmerge(
        IReadOnlyCollection<RegisteredTarget>? targets,
        IProgress<EngineProgress>? progress,
        CancellationToken cancel) =>
        engine.Unmerge(targets, Watched(progress), cancel);

    private static string CancelledOrLeft(RegisteredTarget target, UnmergeReport report)
    {
        var reasons = string.Join(", ", report.Left.Select(pair => $"{pair.Key.JsonName()} {pair.Value}"));
        return $"process {target.Target.Pid} still has {report.PagesLeft} merged pages"
            + (reasons.Length > 0 ? $" ({reasons})" : "") + ": detach it again";
    }

    private List<RegisteredTarget>? Select(IReadOnlyList<int>? pids)
    {
        if (pids is null || pids.Count == 0)
        {
            return null;
        }

        var chosen = new List<RegisteredTarget>();
        foreach (var pid in pids)
        {
            var target = Find(pid) ?? throw NotAttached(pid);
            if (!chosen.Contains(target))
            {
                chosen.Add(target);
            }
        }

        return chosen;
    }

    private Watcher Watched(IProgress<EngineProgress>? progress) => new(progress, serveLookers);

    private bool TryAttachFollowed(int pid, string? domain)
    {
        try
        {
            Register(pid, domain, null);
            return true;
        }
        catch (RequestException error)
        {
            log.LogInformation("A child is not attached: {Reason}", error.Message);
            return false;
        }
    }

    private void Save() => SavedRegistrations.Save(this, keeper, log);

    private KnobDocument Knob(KnobInfo info) =>
        new(info.Name, engine.Knobs.Get(info.Name), info.Default, info.Values, info.Meaning);

    private RequestException UnknownKnob(string name)
    {
        engine.Knobs.TrySet(name, "", out var error);
        return new RequestException(ExitCode.Usage, error);
    }

    private void Tell(string kind, string text, int? pid)
    {
        log.LogInformation("{Event}: {Text}", kind, text);
        events.Publish(new EventDocument { Kind = kind, Text = text, Pid = pid, Time = DateTimeOffset.UtcNow });
    }

    private static RequestException NotAttached(int pid) =>
        new(ExitCode.NotFound, $"process {pid} is not attached: see samepage list");

    private sealed class Watcher(IProgress<EngineProgress>? progress, Action serveLookers) : IProgress<EngineProgress>
    {
        public void Report(EngineProgress value)
        {
            progress?.Report(value);
            serveLookers();
        }
    }
}
