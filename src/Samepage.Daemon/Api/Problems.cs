using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>Everything that goes wrong becomes one problem document with one clear line and an exit code.</summary>
internal static class Problems
{
    internal const string ContentType = "application/problem+json";

    /// <summary>The problem behind an exception; null for one that nobody foresaw.</summary>
    internal static ProblemDocument? From(Exception error) => error switch
    {
        RequestException refused => Snapshot.Problem(refused),
        BadHttpRequestException bad => new ProblemDocument
        {
            Title = "Bad request", Status = bad.StatusCode, Detail = OneLine(bad), ExitCode = (int)ExitCode.Usage,
        },
        IOException failed => Snapshot.Problem(new RequestException(ExitCode.Failed, failed.Message)),
        _ => null,
    };

    /// <summary>Middleware around all routes.</summary>
    internal static async Task Handle(HttpContext context, RequestDelegate next, ILogger log)
    {
        try
        {
            await next(context).ConfigureAwait(false);
            if (context.Response is { HasStarted: false, StatusCode: >= 400, ContentLength: null or 0 })
            {
                await Write(context, Unanswered(context)).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // Nobody is there to be told.
        }
#pragma warning disable CA1031 // The top of a request: whatever it was, the caller gets a line and the log the rest.
        catch (Exception error) when (!context.Response.HasStarted)
#pragma warning restore CA1031
        {
            var problem = From(error);
            if (problem is null)
            {
                log.LogError(error, "A request failed");
                problem = new ProblemDocument
                {
                    Title = "Failed",
                    Status = 500,
                    Detail = $"a fault in samepage: {error.GetType().Name}: {error.Message}",
                    ExitCode = (int)ExitCode.Failed,
                };
            }

            await Write(context, problem).ConfigureAwait(false);
        }
    }

    private static ProblemDocument Unanswered(HttpContext context) => new()
    {
        Title = "Bad request",
        Status = context.Response.StatusCode,
        Detail = context.Response.StatusCode switch
        {
            404 => $"there is no {context.Request.Path}: see /openapi/v1.json",
            405 => $"{context.Request.Method} is not for {context.Request.Path}: see /openapi/v1.json",
            413 => $"the body is too large: send at most {Hosting.DaemonHost.RequestBytesMax} bytes",
            415 => "send the body as application/json",
            var status => $"the request was refused with HTTP status {status}",
        },
        ExitCode = (int)ExitCode.Usage,
    };

    private static string OneLine(BadHttpRequestException bad) =>
        (bad.InnerException is JsonException json ? $"the body is not as expected: {json.Message}" : bad.Message)
        .ReplaceLineEndings(" ");

    private static async Task Write(HttpContext context, ProblemDocument problem)
    {
        context.Response.StatusCode = problem.Status;
        context.Response.ContentType = ContentType;
        var body = JsonSerializer.SerializeToUtf8Bytes(problem, ApiJson.Default.ProblemDocument);
        await context.Response.Body.WriteAsync(body).ConfigureAwait(false);
    }
}
