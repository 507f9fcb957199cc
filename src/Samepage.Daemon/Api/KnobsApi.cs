using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>/v1/knobs: the settings, under KSM's names.</summary>
internal static class KnobsApi
{
    internal static void MapKnobs(this IEndpointRouteBuilder routes)
    {
        var knobs = routes.MapGroup("/v1/knobs").WithTags("knobs");
        knobs.MapGet("/", List).WithName("list_knobs").WithSummary("All knobs");
        knobs.MapGet("/{name}", Get).WithName("get_knob").WithSummary("One knob");
        knobs.MapPut("/{name}", Put).WithName("set_knob")
            .WithSummary("Set a knob; run=2 answers when everything is un-merged");
    }

    private static async Task<Ok<KnobsDocument>> List(EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Look(supervisor => supervisor.Knobs(), cancel).ConfigureAwait(false));

    private static async Task<Ok<KnobDocument>> Get(string name, EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Look(supervisor => supervisor.Knob(name), cancel).ConfigureAwait(false));

    private static async Task<Ok<KnobDocument>> Put(
        string name, KnobBody body, EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Ask(supervisor => supervisor.SetKnob(name, body.Value, cancel), cancel)
            .ConfigureAwait(false));
}
