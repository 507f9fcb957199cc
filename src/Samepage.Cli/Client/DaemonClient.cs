using System.Text;
using Samepage.Linux.Host;

namespace Samepage.Cli.Client;

/// <summary>Requests to the daemon over one connection. Not thread-safe.</summary>
internal sealed class DaemonClient : IDisposable
{
    /// <summary>Answers for programs.</summary>
    internal const string Json = "application/json";

    /// <summary>Answers for people, where the daemon has such.</summary>
    internal const string PlainText = "text/plain";

    private const int LineBytesMax = 64 << 20;
    private readonly UnixStream stream;
    private readonly HttpReader reader;

    private DaemonClient(UnixStream stream)
    {
        this.stream = stream;
        reader = new HttpReader(stream);
    }

    /// <summary>A connection to a daemon that is there; null when none answers.</summary>
    internal static DaemonClient? TryConnect(string socket, out int errno) =>
        UnixStream.Connect(socket, out errno) is { } stream ? new DaemonClient(stream) : null;

    /// <summary>Asks and waits for the whole answer.</summary>
    /// <returns>HTTP status and body.</returns>
    /// <exception cref="IOException">The connection broke or the answer makes no sense.</exception>
    internal (int Status, byte[] Body) Send(
        string method, string path, ReadOnlySpan<byte> body = default, string accept = Json)
    {
        Ask(method, path, body, accept);
        var answer = new MemoryStream();
        for (var piece = reader.ReadBody(); !piece.IsEmpty; piece = reader.ReadBody())
        {
            answer.Write(piece);
        }

        return (reader.Status, answer.ToArray());
    }

    /// <summary>Asks for an answer in JSON lines; hands over each line without its end as it comes, with the HTTP
    /// status.</summary>
    /// <returns>HTTP status; other than 200, there is one line: the problem.</returns>
    internal int SendForLines(string method, string path, ReadOnlySpan<byte> body, Action<int, byte[]> line)
    {
        Ask(method, path, body, "application/x-ndjson");
        var unfinished = new MemoryStream();
        for (var piece = reader.ReadBody(); !piece.IsEmpty; piece = reader.ReadBody())
        {
            for (var feed = piece.IndexOf((byte)'\n'); feed >= 0; feed = piece.IndexOf((byte)'\n'))
            {
                unfinished.Write(piece[..feed]);
                piece = piece[(feed + 1)..];
                line(reader.Status, unfinished.ToArray());
                unfinished.SetLength(0);
            }

            unfinished.Write(piece);
            if (unfinished.Length > LineBytesMax)
            {
                throw new IOException("the daemon's answer has too long a line");
            }
        }

        if (unfinished.Length > 0)
        {
            line(reader.Status, unfinished.ToArray());
        }

        return reader.Status;
    }

    public void Dispose() => stream.Dispose();

    private void Ask(string method, string path, ReadOnlySpan<byte> body, string accept)
    {
        var head = $"{method} {path} HTTP/1.1\r\nHost: samepage\r\nAccept: {accept}\r\n"
            + (body.IsEmpty ? "" : $"Content-Type: application/json\r\nContent-Length: {body.Length}\r\n") + "\r\n";
        var request = new byte[head.Length + body.Length];
        Encoding.ASCII.GetBytes(head, request);
        body.CopyTo(request.AsSpan(head.Length));
        stream.Send(request);
        reader.ReadHead();
    }
}
