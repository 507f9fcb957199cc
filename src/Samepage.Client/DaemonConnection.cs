using System.Net.Http.Headers;
using System.Net.ServerSentEvents;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Samepage;

/// <summary>
/// HTTP over the socket, and everything that can go wrong with it as <see cref="SamepageException"/>. The command line
/// has a transport of its own (src/Samepage.Cli/Client): HttpClient alone takes 40 ms to start, which is nothing
/// to a program and too much to a verb. What is said over either is in Documents.cs.
/// </summary>
internal sealed class DaemonConnection : IDisposable
{
    private readonly HttpClient _http;
    private readonly string _socket;

    internal DaemonConnection(string socket)
    {
        _socket = socket;
        _http = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = Connect,
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false,
        })
        {
            BaseAddress = new Uri("http://samepage"),
            Timeout = Timeout.InfiniteTimeSpan, // merging a host takes its time; callers can cancel
        };
    }

    /// <summary>Answers of newer daemons may say more than this library knows; that is no error.</summary>
    internal static ApiJson Json { get; } = new(new JsonSerializerOptions(ApiJson.Default.Options)
    {
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip,
    });

    internal static SamepageException NoResult() =>
        new(SamepageError.NoDaemon, "the daemon closed the connection before its answer was complete");

    internal Task<T> Ask<T>(HttpMethod method, string path, JsonTypeInfo<T> type, CancellationToken cancel) =>
        Ask<T, object>(method, path, null, null, type, cancel);

    internal async Task<T> Ask<T, TBody>(
        HttpMethod method, string path, TBody? body, JsonTypeInfo<TBody>? bodyType, JsonTypeInfo<T> type,
        CancellationToken cancel)
        where TBody : class
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = Content(body, bodyType!);
        }

        using HttpResponseMessage answer = await Send(request, cancel).ConfigureAwait(false);
        return await Guarded(
            async () => JsonSerializer.Deserialize(
                await answer.Content.ReadAsByteArrayAsync(cancel).ConfigureAwait(false), type) ?? throw NoResult(),
            cancel).ConfigureAwait(false);
    }

    /// <summary>Long work on processes: a line of progress now and then, and one with the result.</summary>
    internal async Task<StreamLine> Work(
        string path, IReadOnlyList<int>? pids, IProgress<ProgressDocument>? progress, CancellationToken cancel)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path)
        {
            Content = Content(new SelectionBody { Pids = pids }, Json.SelectionBody),
        };
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("application/x-ndjson"));
        using HttpResponseMessage answer = await Send(request, cancel).ConfigureAwait(false);
        return await Guarded(() => ReadLines(answer, progress, cancel), cancel).ConfigureAwait(false);
    }

    /// <summary>Server-sent events until the daemon ends or somebody cancels.</summary>
    internal async IAsyncEnumerable<T> Listen<T>(
        string path, JsonTypeInfo<T> type, [EnumeratorCancellation] CancellationToken cancel)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        using HttpResponseMessage answer = await Send(request, cancel).ConfigureAwait(false);
        Stream stream = await answer.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false);
        SseParser<T> parser = SseParser.Create(
            stream, (_, data) => JsonSerializer.Deserialize(data, type) ?? throw NoResult());
        await using IAsyncEnumerator<SseItem<T>> events = parser.EnumerateAsync(cancel).GetAsyncEnumerator(cancel);
        while (await Guarded(() => events.MoveNextAsync().AsTask(), cancel).ConfigureAwait(false))
        {
            yield return events.Current.Data;
        }
    }

    public void Dispose() => _http.Dispose();

    private static async Task<StreamLine> ReadLines(
        HttpResponseMessage answer, IProgress<ProgressDocument>? progress, CancellationToken cancel)
    {
        StreamLine? last = null;
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false));
        while (await reader.ReadLineAsync(cancel).ConfigureAwait(false) is { } line)
        {
            last = JsonSerializer.Deserialize(line, Json.StreamLine);
            if (last?.Progress is { } done)
            {
                progress?.Report(done);
            }
        }

        return last?.Problem is { } problem ? throw Refused(problem) : last ?? throw NoResult();
    }

    private static ByteArrayContent Content<TBody>(TBody body, JsonTypeInfo<TBody> type) =>
        new(JsonSerializer.SerializeToUtf8Bytes(body, type))
        {
            Headers = { ContentType = new MediaTypeHeaderValue("application/json") },
        };

    private Task<HttpResponseMessage> Send(HttpRequestMessage request, CancellationToken cancel) =>
        Guarded(
            async () =>
            {
                HttpResponseMessage answer = await _http
                    .SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel).ConfigureAwait(false);
                if (answer.IsSuccessStatusCode)
                {
                    return answer;
                }

                using (answer)
                {
                    byte[] text = await answer.Content.ReadAsByteArrayAsync(cancel).ConfigureAwait(false);
                    throw Refused(JsonSerializer.Deserialize(text, Json.ProblemDocument) ?? throw NoResult());
                }
            },
            cancel);

    private static SamepageException Refused(ProblemDocument problem) =>
        new(
            Enum.IsDefined((SamepageError)problem.ExitCode) ? (SamepageError)problem.ExitCode : SamepageError.Failed,
            problem.Detail);

    private async Task<T> Guarded<T>(Func<Task<T>> action, CancellationToken cancel)
    {
        try
        {
            return await action().ConfigureAwait(false);
        }
        catch (JsonException error)
        {
            throw new SamepageException(
                SamepageError.Failed, $"what answers at {_socket} is not a samepage daemon of this version", error);
        }
        catch (Exception error) when (
            error is HttpRequestException or IOException and not SamepageException && !cancel.IsCancellationRequested)
        {
            throw Unreachable(error);
        }
    }

    private SamepageException Unreachable(Exception error)
    {
        for (Exception? cause = error; cause is not null; cause = cause.InnerException)
        {
            if (cause is SocketException { SocketErrorCode: SocketError.AccessDenied })
            {
                return new SamepageException(
                    SamepageError.NotPermitted,
                    $"the daemon's socket {_socket} belongs to another user: be that user, or root", error);
            }
        }

        return new SamepageException(
            SamepageError.NoDaemon, $"no daemon answers at {_socket} ({error.Message}): start one with samepage daemon",
            error);
    }

    private async ValueTask<Stream> Connect(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(_socket), cancel).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
