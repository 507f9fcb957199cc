using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>
/// /v1/merge and /v1/unmerge: long work on request. With "Accept: application/x-ndjson" the answer is a stream of
/// lines: progress, then one result or problem. The work ends early, consistently, when the caller goes away.
/// </summary>
internal static class MergeApi
{
    internal static void MapMerge(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/v1/merge", Merge).WithName("merge").WithTags("merge")
            .WithSummary("Scan and merge until nothing is left to merge")
            .Produces<MergeDocument>(200, "application/json", ProgressStream.ContentType);
        routes.MapPost("/v1/unmerge", Unmerge).WithName("unmerge").WithTags("merge")
            .WithSummary("Give processes private copies of all their merged pages")
            .Produces<UnmergeDocument>(200, "application/json", ProgressStream.ContentType);
    }

    private static async Task<IResult> Merge(
        SelectionBody body, HttpRequest request, EngineLoop loop, CancellationToken cancel)
    {
        if (ProgressStream.IsWanted(request))
        {
            return new ProgressStream(progress => loop.Ask(
                supervisor => new StreamLine { Merged = supervisor.Merge(body.Pids, progress, cancel) }, cancel));
        }

        return TypedResults.Ok(await loop.Ask(supervisor => supervisor.Merge(body.Pids, null, cancel), cancel)
            .ConfigureAwait(false));
    }

    private static async Task<IResult> Unmerge(
        SelectionBody body, HttpRequest request, EngineLoop loop, CancellationToken cancel)
    {
        if (ProgressStream.IsWanted(request))
        {
            return new ProgressStream(progress => loop.Ask(
                supervisor => new StreamLine { Unmerged = supervisor.Unmerge(body.Pids, progress, cancel) }, cancel));
        }

        return TypedResults.Ok(await loop.Ask(supervisor => supervisor.Unmerge(body.Pids, null, cancel), cancel)
            .ConfigureAwait(false));
    }
}
