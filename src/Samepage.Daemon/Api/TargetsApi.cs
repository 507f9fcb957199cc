using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>/v1/targets: attached processes.</summary>
internal static class TargetsApi
{
    // A command that ends at once (true, or one that fails to start) is not worth stopping; and the dynamic linker is
    // through by then.
    private static readonly TimeSpan AfterExecDelay = TimeSpan.FromMilliseconds(50);

    internal static void MapTargets(this IEndpointRouteBuilder routes)
    {
        var targets = routes.MapGroup("/v1/targets").WithTags("targets");
        targets.MapGet("/", List).WithName("list_targets").WithSummary("All attached processes");
        targets.MapPost("/", Attach).WithName("attach_target")
            .WithSummary("Attach a process; 202 when that happens at the caller's execve");
        targets.MapGet("/{pid:int}", Get).WithName("get_target").WithSummary("One attached process");
        targets.MapDelete("/{pid:int}", Detach).WithName("detach_target")
            .WithSummary("Un-merge a process and remove every trace from it");
        targets.MapPost("/{pid:int}/ranges", RegisterRange).WithName("register_range")
            .WithSummary("Merge a span of a process from now on; attaches the process with its first span");
        targets.MapDelete("/{pid:int}/ranges/{range}", UnregisterRange).WithName("unregister_range")
            .WithSummary("Un-merge a span and merge it no more; detaches the process with its last span");
    }

    private static async Task<Ok<TargetsDocument>> List(EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Look(supervisor => supervisor.List(), cancel).ConfigureAwait(false));

    private static async Task<Ok<TargetDocument>> Get(int pid, EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Look(supervisor => supervisor.Get(pid), cancel).ConfigureAwait(false));

    private static async Task<Results<Created<TargetDocument>, Accepted>> Attach(
        AttachBody body, HttpContext context, EngineLoop loop, ILoggerFactory logs, CancellationToken cancel)
    {
        var ranges = Ranges.Parse(body.Ranges);
        Domains.Check(body.Domain);
        if (body.AfterExec)
        {
            AttachAtClose(body, ranges, context, loop, logs.CreateLogger("Samepage.Daemon.Run"));
            return TypedResults.Accepted((string?)null);
        }

        var target = await loop.Ask(
            supervisor => supervisor.Attach(body.Pid, body.Domain, ranges, body.FollowChildren), cancel)
            .ConfigureAwait(false);
        return TypedResults.Created($"/v1/targets/{target.Pid}", target);
    }

    private static async Task<Ok<UnmergeDocument>> Detach(int pid, EngineLoop loop, CancellationToken cancel) =>
        TypedResults.Ok(await loop.Ask(supervisor => supervisor.Detach(pid, null, cancel), cancel)
            .ConfigureAwait(false));

    private static async Task<Ok<TargetDocument>> RegisterRange(
        int pid, RangeBody body, EngineLoop loop, CancellationToken cancel)
    {
        var range = Ranges.Parse(body.Range);
        Domains.Check(body.Domain);
        return TypedResults.Ok(await loop.Ask(supervisor => supervisor.RegisterRange(pid, range, body.Domain), cancel)
            .ConfigureAwait(false));
    }

    private static async Task<Ok<UnmergeDocument>> UnregisterRange(
        int pid, string range, EngineLoop loop, CancellationToken cancel)
    {
        var span = Ranges.Parse(range);
        return TypedResults.Ok(await loop.Ask(supervisor => supervisor.UnregisterRange(pid, span, cancel), cancel)
            .ConfigureAwait(false));
    }

    // The kernel closes the caller's end of this connection at its execve, after the new memory is in place.
    private static void AttachAtClose(
        AttachBody body, IReadOnlyList<PageRange>? ranges, HttpContext context, EngineLoop loop, ILogger log)
    {
        var connection = context.Features.Get<IConnectionLifetimeFeature>()
            ?? throw new RequestException(ExitCode.Failed, "this connection does not tell when it is closed");
        connection.ConnectionClosed.Register(() => _ = AttachSoon(body, ranges, loop, log));
    }

    private static async Task AttachSoon(
        AttachBody body, IReadOnlyList<PageRange>? ranges, EngineLoop loop, ILogger log)
    {
        try
        {
            await Task.Delay(AfterExecDelay).ConfigureAwait(false);
            await loop.Ask(
                supervisor => supervisor.Attach(body.Pid, body.Domain, ranges, body.FollowChildren),
                CancellationToken.None).ConfigureAwait(false);
        }
        catch (RequestException error)
        {
            log.LogInformation("A command is not attached: {Reason}", error.Message);
        }
    }
}
