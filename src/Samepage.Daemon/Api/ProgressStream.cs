using System.Text.Json;
using System.Threading.Channels;
using Microsoft.AspNetCore.Http;
using Samepage.Daemon.Loop;

namespace Samepage.Daemon.Api;

/// <summary>
/// Long work as a stream of JSON lines. The engine's loop never waits for the reader: of progress that is not read in
/// time only the newest is kept.
/// </summary>
internal sealed class ProgressStream(Func<IProgress<EngineProgress>, Task<StreamLine>> work) : IResult
{
    internal const string ContentType = "application/x-ndjson";
    private const int LinesPerSecondMax = 10;

    internal static bool IsWanted(HttpRequest request) =>
        request.Headers.Accept.Any(accept => accept?.Contains(ContentType, StringComparison.OrdinalIgnoreCase) == true);

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        httpContext.Response.ContentType = ContentType;
        var lines = Channel.CreateBounded<EngineProgress>(
            new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest });
        var working = Finish(work(new Writer(lines.Writer)), lines.Writer);
        await foreach (var progress in lines.Reader.ReadAllAsync(httpContext.RequestAborted).ConfigureAwait(false))
        {
            await WriteLine(httpContext.Response, new StreamLine
            {
                Progress = new ProgressDocument(progress.Phase, progress.PagesDone, progress.PagesTotal),
            }).ConfigureAwait(false);
            await Task.WhenAny(working, Task.Delay(1000 / LinesPerSecondMax)).ConfigureAwait(false);
        }

        await WriteLine(httpContext.Response, await working.ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task<StreamLine> Finish(Task<StreamLine> work, ChannelWriter<EngineProgress> lines)
    {
        try
        {
            return await work.ConfigureAwait(false);
        }
        catch (Exception error) when (Problems.From(error) is { } problem)
        {
            return new StreamLine { Problem = problem };
        }
        finally
        {
            lines.Complete();
        }
    }

    private static async Task WriteLine(HttpResponse response, StreamLine line)
    {
        await JsonSerializer.SerializeAsync(response.Body, line, ApiJson.Default.StreamLine).ConfigureAwait(false);
        await response.Body.WriteAsync("\n"u8.ToArray()).ConfigureAwait(false);
        await response.Body.FlushAsync().ConfigureAwait(false);
    }

    private sealed class Writer(ChannelWriter<EngineProgress> lines) : IProgress<EngineProgress>
    {
        public void Report(EngineProgress value) => lines.TryWrite(value);
    }
}
