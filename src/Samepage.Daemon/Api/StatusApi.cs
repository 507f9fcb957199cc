using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>/v1/status: all counters in one look; with "Accept: text/plain" as text for people.</summary>
internal static class StatusApi
{
    private const string PlainText = "text/plain";

    internal static void MapStatus(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/status", Get)
            .WithName("get_status")
            .WithSummary("All counters")
            .WithTags("status")
            .Produces<StatusDocument>(200, "application/json", PlainText);

    private static async Task<IResult> Get(HttpRequest request, EngineLoop loop, CancellationToken cancel)
    {
        var status = await loop.Look(supervisor => supervisor.Status(), cancel).ConfigureAwait(false);
        return request.Headers.Accept == PlainText
            ? TypedResults.Text(StatusText.Of(status), PlainText)
            : TypedResults.Ok(status);
    }
}
