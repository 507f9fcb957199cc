using System.Buffers.Text;
using System.Text;
using Samepage.Linux.Host;

namespace Samepage.Cli.Client;

/// <summary>
/// Reads one HTTP/1.1 answer: status, and the body by Content-Length or in chunks. Only what the daemon sends is
/// understood; everything has a limit.
/// </summary>
internal sealed class HttpReader(UnixStream stream)
{
    private const int HeaderLineBytesMax = 8 * 1024;
    private const int HeadersMax = 100;
    private const long BodyBytesMax = 1L << 30;

    private readonly byte[] buffer = new byte[16 * 1024];
    private int start;
    private int end;
    private long bodyLeft;
    private bool chunked;
    private bool ended;

    /// <summary>HTTP status of the answer, after <see cref="ReadHead"/>.</summary>
    internal int Status { get; private set; }

    internal void ReadHead()
    {
        var line = ReadLine();
        if (!line.StartsWith("HTTP/1.1 ", StringComparison.Ordinal) || line.Length < 12
            || !int.TryParse(line.AsSpan(9, 3), out var status))
        {
            throw new IOException("what answers at the socket is not a samepage daemon");
        }

        Status = status;
        bodyLeft = 0;
        chunked = false;
        ended = false;
        for (var i = 0; i < HeadersMax; i++)
        {
            line = ReadLine();
            if (line.Length == 0)
            {
                return;
            }

            TakeHeader(line);
        }

        throw new IOException("the daemon's answer has too many headers");
    }

    /// <summary>The next bytes of the body, valid until the next call; empty at its end.</summary>
    internal ReadOnlySpan<byte> ReadBody()
    {
        if (ended)
        {
            return [];
        }

        if (chunked && bodyLeft == 0)
        {
            NextChunk();
        }

        if (bodyLeft == 0)
        {
            ended = true;
            return [];
        }

        if (start == end)
        {
            Fill();
        }

        var count = (int)Math.Min(bodyLeft, end - start);
        var piece = buffer.AsSpan(start, count);
        start += count;
        bodyLeft -= count;
        if (chunked && bodyLeft == 0)
        {
            afterChunk = true;
        }

        return piece;
    }

    private bool afterChunk;

    private void TakeHeader(string line)
    {
        const string length = "Content-Length:";
        if (line.StartsWith(length, StringComparison.OrdinalIgnoreCase))
        {
            bodyLeft = long.Parse(line.AsSpan(length.Length), System.Globalization.CultureInfo.InvariantCulture);
        }
        else if (line.Equals("Transfer-Encoding: chunked", StringComparison.OrdinalIgnoreCase))
        {
            chunked = true;
        }

        if (bodyLeft is < 0 or > BodyBytesMax)
        {
            throw new IOException("the daemon's answer is too long");
        }
    }

    private void NextChunk()
    {
        if (afterChunk)
        {
            ReadLine();
            afterChunk = false;
        }

        var line = Encoding.ASCII.GetBytes(ReadLine());
        if (!Utf8Parser.TryParse(line, out long size, out _, 'x') || size is < 0 or > BodyBytesMax)
        {
            throw new IOException("the daemon's answer is broken");
        }

        bodyLeft = size;
        if (size == 0)
        {
            ReadLine();
        }
    }

    private string ReadLine()
    {
        var line = new StringBuilder();
        while (true)
        {
            if (start == end)
            {
                Fill();
            }

            var rest = buffer.AsSpan(start, end - start);
            var feed = rest.IndexOf((byte)'\n');
            line.Append(Encoding.ASCII.GetString(feed < 0 ? rest : rest[..feed]));
            start += feed < 0 ? rest.Length : feed + 1;
            if (feed >= 0)
            {
                return line.ToString().TrimEnd('\r');
            }

            if (line.Length > HeaderLineBytesMax)
            {
                throw new IOException("the daemon's answer has too long a line");
            }
        }
    }

    private void Fill()
    {
        start = 0;
        end = stream.Receive(buffer);
        if (end == 0)
        {
            throw new IOException("the daemon closed the connection before its answer was complete");
        }
    }
}
