using Samepage.Linux.Interception;

namespace Samepage.Daemon;

/// <summary>
/// Where the daemon gets its targets from: the live machine, or a double in tests. All members are called on the
/// engine's loop thread only, the opening included, because a tracer is one thread.
/// Every refusal is a <see cref="RequestException"/>.
/// </summary>
public interface ITargetProvider : IDisposable
{
    /// <summary>The machine whose address spaces the targets are.</summary>
    IMachine Machine { get; }

    /// <summary>The trust domain of a process when nobody names one: "uid:N", its real user.</summary>
    string DefaultDomain(int pid);

    /// <summary>Takes a process under care. Nothing is left in it when this throws.</summary>
    /// <param name="pid">Process id.</param>
    /// <param name="domain">Trust domain.</param>
    /// <param name="ranges">Spans to restrict merging to; null for everything that can be merged.</param>
    ITarget Attach(int pid, string domain, IReadOnlyList<PageRange>? ranges);

    /// <summary>Removes every trace from a target that the engine has un-merged, or forgets a dead one.</summary>
    void Detach(ITarget target);

    /// <summary>Keeps another set of spans with the target, for the daemon that takes it over.</summary>
    /// <param name="target">A target attached with spans.</param>
    /// <param name="ranges">All its spans from now on: sorted, disjoint, at least one.</param>
    /// <param name="added">The one that is new; null when one is taken away.</param>
    void SetRanges(ITarget target, IReadOnlyList<PageRange> ranges, PageRange? added);

    /// <summary>Processes that still carry what an earlier daemon put into them.</summary>
    IReadOnlyList<LeftBehind> FindLeftBehind();

    /// <summary>How long targets were stopped so far.</summary>
    StopTimes StopTimes();

    /// <summary>Commands under <c>samepage run</c>, those of an earlier daemon included; null where there can be none.
    /// </summary>
    /// <param name="changed">To be called from any thread when there is something to carry out.</param>
    CommandRuns? OpenRuns(Action changed) => null;

    /// <summary>Has the next scan list everything in these pages, written or not.</summary>
    void ListAgain(ITarget target, IEnumerable<PageRange> pages)
    {
    }

    /// <summary>Gives merged pages that the engine has let go of their private copies back. Needs no thread of the target.
    /// </summary>
    /// <returns>Pages that are still shared.</returns>
    long BreakSharing(ITarget target, IEnumerable<PageRange> pages) => 0;
}

/// <summary>A process that an earlier daemon left merged.</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Domain">Trust domain its pages came from.</param>
/// <param name="Ranges">Spans it was restricted to; null for none.</param>
public sealed record LeftBehind(int Pid, string Domain, IReadOnlyList<PageRange>? Ranges);
