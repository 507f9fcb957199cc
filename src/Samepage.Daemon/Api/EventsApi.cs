using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>/v1/events: what happens, as server-sent events.</summary>
internal static class EventsApi
{
    internal static void MapEvents(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/events", Listen)
            .WithName("listen")
            .WithSummary(
                "What happens from now on (listening, then attached, detached, exited, merged, unmerged, knob)")
            .WithTags("events");

    private static ServerSentEventsResult<EventDocument> Listen(
        EventHub events, HttpContext context, IHostApplicationLifetime lifetime)
    {
        // An open stream must not hold up the daemon's end.
        var either = CancellationTokenSource.CreateLinkedTokenSource(
            context.RequestAborted, lifetime.ApplicationStopping);
        context.Response.RegisterForDispose(either);
        return TypedResults.ServerSentEvents(events.Listen(either.Token), "event");
    }
}
