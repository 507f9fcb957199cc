using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>/v1/status: all counters in one look.</summary>
internal static class StatusApi
{
    internal static void MapStatus(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/status", Get)
            .WithName("get_status")
            .WithSummary("All counters")
            .WithTags("status");

    private static async Task<Ok<StatusDocument>> Get(EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Look(supervisor => supervisor.Status(), cancel).ConfigureAwait(false));
}
