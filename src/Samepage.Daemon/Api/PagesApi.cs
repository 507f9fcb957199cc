using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>/v1/targets/{pid}/events and /pages: what happens to the pages of one process.</summary>
internal static class PagesApi
{
    internal static void MapPages(this IEndpointRouteBuilder routes)
    {
        var pages = routes.MapGroup("/v1/targets/{pid:int}").WithTags("pages");
        pages.MapGet("/events", Listen).WithName("listen_to_pages")
            .WithSummary("What happens to the pages of a process from now on, as server-sent events");
        pages.MapGet("/pages", Get).WithName("get_pages")
            .WithSummary("Which pages of a process are shared now, and where in the store");
    }

    private static async Task<Ok<PagesDocument>> Get(int pid, EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Look(supervisor => supervisor.Pages(pid), cancel).ConfigureAwait(false));

    private static async Task<ServerSentEventsResult<PageEventDocument>> Listen(
        int pid, EngineLoop loop, HttpContext context, IHostApplicationLifetime lifetime)
    {
        var (target, listener) = await loop.Look(supervisor => supervisor.Listen(pid), context.RequestAborted)
            .ConfigureAwait(false);
        // An open stream must not hold up the daemon's end.
        var either = CancellationTokenSource.CreateLinkedTokenSource(
            context.RequestAborted, lifetime.ApplicationStopping);
        context.Response.RegisterForDispose(either);
        context.Response.OnCompleted(async () =>
        {
            try
            {
                await loop.Look(supervisor => supervisor.StopListening(target, listener), CancellationToken.None)
                    .ConfigureAwait(false);
            }
            catch (RequestException)
            {
                // The daemon ends, and with it the stream.
            }

            listener.Dispose();
        });
        return TypedResults.ServerSentEvents(listener.Read(either.Token), "page");
    }
}
