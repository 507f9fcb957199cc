using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Samepage.Daemon.Live;
using Samepage.Daemon.Loop;
using Samepage.Linux.Interception;

namespace Samepage.Daemon.Api;

/// <summary>/v1/runs: commands whose own KSM calls are answered.</summary>
internal static class RunsApi
{
    internal static void MapRuns(this IEndpointRouteBuilder routes)
    {
        var runs = routes.MapGroup("/v1/runs").WithTags("runs");
        runs.MapGet("/", List).WithName("list_runs").WithSummary("All commands under samepage run");
        runs.MapPost("/", Add).WithName("add_run")
            .WithSummary("Answer the KSM calls of a process and of all it starts; asked just before its execve");
    }

    private static async Task<Ok<RunsDocument>> List(EngineLoop loop, CancellationToken cancel)
    {
        var runs = await loop.Look(supervisor => supervisor.Runs, cancel).ConfigureAwait(false);
        return TypedResults.Ok(new RunsDocument([.. runs.List().Select(Document)]));
    }

    private static async Task<Created<RunDocument>> Add(RunBody body, EngineLoop loop, CancellationToken cancel)
    {
        Domains.Check(body.Domain);
        if (body.Pid <= 0)
        {
            throw new RequestException(ExitCode.Usage, $"{body.Pid} is not a process id: give a positive number");
        }

        // Not on the loop, which may be busy merging for seconds: a command starts at once.
        var runs = await loop.Look(supervisor => supervisor.Runs, cancel).ConfigureAwait(false);
        var request = new RunRequest(
            body.Pid, body.Fd ?? -1, body.Domain, body.WholeProcess, body.Device is not null,
            body.Device?.Device ?? 0, body.Device?.Inode ?? 0);
        var summary = LiveTargets.Asking(() => runs.Add(request));
        // Nothing to merge yet, but from now on the loop has to look around.
        _ = loop.Ask(_ => true, CancellationToken.None);
        return TypedResults.Created((string?)null, Document(summary));
    }

    private static RunDocument Document(RunSummary run) => new(run.Id, run.Domain, run.Processes, run.Calls);
}
