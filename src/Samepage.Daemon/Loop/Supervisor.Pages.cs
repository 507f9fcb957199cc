using Samepage.Daemon.Api;

namespace Samepage.Daemon.Loop;

/// <content>What happens to the pages of a process, for those outside who want to know.</content>
public sealed partial class Supervisor
{
    // By target, not by process id: the next process with the id starts a stream of its own.
    private readonly Dictionary<ITarget, PageEvents> pageEvents = [];

    /// <summary>Starts listening; from here on nothing is missed.</summary>
    internal (ITarget Target, PageEvents.Listener Listener) Listen(int pid)
    {
        var registered = Find(pid) ?? throw NotAttached(pid);
        // A merge may be under way: what was started while nobody listened is told to nobody.
        engine.Settle(registered);
        var target = registered.Target;
        if (!pageEvents.TryGetValue(target, out var events))
        {
            events = new PageEvents(target.Notifiers ?? throw new RequestException(
                ExitCode.HostNotSupported, "this machine does not tell what happens to pages"));
            pageEvents.Add(target, events);
        }

        return (target, events.Subscribe());
    }

    /// <summary>A listener has gone. The stream's numbers go on as long as the process is attached.</summary>
    internal bool StopListening(ITarget target, PageEvents.Listener listener)
    {
        if (pageEvents.TryGetValue(target, out var events))
        {
            events.Unsubscribe(listener);
        }

        return true;
    }

    /// <summary>Which pages are shared, by the same account the events come from.</summary>
    internal PagesDocument Pages(int pid)
    {
        var target = Find(pid) ?? throw NotAttached(pid);
        engine.Settle(target);
        return new PagesDocument
        {
            Pid = pid,
            Sequence = pageEvents.TryGetValue(target.Target, out var events) ? events.Sequence : 0,
            Shared = [.. target.SharedRuns().Select(run => new SharedRunDocument(
                run.Start << PageSize.Shift, (ulong)run.Count << PageSize.Shift, target.Domain,
                (ulong)run.Slot << PageSize.Shift))],
        };
    }

    private void EndPageEvents(ITarget target)
    {
        if (pageEvents.Remove(target, out var events))
        {
            events.Release();
        }
    }
}
