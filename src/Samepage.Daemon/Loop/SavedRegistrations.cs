using System.Text.Json;
using Microsoft.Extensions.Logging;
using Samepage.Daemon.Api;
using Samepage.Linux.Host;

namespace Samepage.Daemon.Loop;

/// <summary>
/// Knobs and registrations across the daemon's death: what was saved, together with what the machine finds left behind
/// (which counts more: it is what really is in the processes).
/// </summary>
internal sealed class SavedRegistrations(
    Supervisor supervisor, IStateKeeper keeper, ITargetProvider provider, ILogger log)
{
    internal static void Save(Supervisor supervisor, IStateKeeper keeper, ILogger log)
    {
        var knobs = supervisor.Engine.Knobs;
        var state = new SavedState
        {
            // pages_to_scan turns the advisor off when it is set: it has to come before advisor_mode, as it does here.
            Knobs = knobs.All.ToDictionary(knob => knob.Name, knob => knobs.Get(knob.Name)),
            Targets = [.. supervisor.Engine.Targets.Where(target => !supervisor.IsRequested(target.Target.Pid))
                .Select(target => new SavedTarget(
                target.Target.Pid,
                ProcessFacts.StartTime(target.Target.Pid) ?? 0,
                target.Domain,
                target.Ranges?.Select(range => range.ToString()).ToList(),
                supervisor.Followed.Contains(target.Target.Pid)))],
        };
        try
        {
            keeper.Save(JsonSerializer.Serialize(state, ApiJson.Default.SavedState));
        }
        catch (IOException error)
        {
            // The request itself is done; only a restart would forget it.
            log.LogWarning("State not saved: {Reason}", error.Message);
        }
    }

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan RetryPause = TimeSpan.FromMilliseconds(50);
    private readonly long patientUntil = Environment.TickCount64 + (long)Patience.TotalMilliseconds;

    internal void Restore()
    {
        var saved = Load();
        foreach (var (name, value) in saved?.Knobs ?? new Dictionary<string, string>())
        {
            if (!supervisor.Engine.Knobs.TryRestore(name, value, out var error))
            {
                log.LogWarning("Saved knob ignored: {Reason}", error);
            }
        }

        foreach (var left in provider.FindLeftBehind())
        {
            TryRegister(left.Pid, left.Domain, left.Ranges, isOurs: false);
        }

        foreach (var target in saved?.Targets ?? [])
        {
            RestoreTarget(target);
        }
    }

    private void RestoreTarget(SavedTarget target)
    {
        if (ProcessFacts.StartTime(target.Pid) != target.StartTime)
        {
            return;
        }

        if (supervisor.Find(target.Pid) is null)
        {
            TryRegister(target.Pid, target.Domain, Ranges.Parse(target.Ranges), isOurs: true);
        }

        if (target.FollowChildren)
        {
            supervisor.Followed.Add(target.Pid, target.Domain);
        }
    }

    private SavedState? Load()
    {
        if (keeper.Load() is not { Length: > 0 } text)
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(text, ApiJson.Default.SavedState);
        }
        catch (JsonException error)
        {
            // From another version: what is left behind in processes is found without it.
            log.LogWarning("Saved state ignored: {Reason}", error.Message);
            return null;
        }
    }

    /// <summary>
    /// A killed daemon gives up its socket before its threads have let go of their targets, and ending takes time on a
    /// busy machine: what was ours and is refused is tried again for a while.
    /// </summary>
    private void TryRegister(int pid, string domain, IReadOnlyList<PageRange>? ranges, bool isOurs)
    {
        while (true)
        {
            try
            {
                supervisor.Register(pid, domain, ranges);
                return;
            }
            catch (RequestException error)
            {
                if (!isOurs || error.Code is ExitCode.NotFound || Environment.TickCount64 > patientUntil)
                {
                    log.LogError("Not taken over from the daemon before: {Reason}", error.Message);
                    return;
                }

                log.LogInformation("Not taken over yet: {Reason}", error.Message);
                Thread.Sleep(RetryPause);
            }
        }
    }
}
