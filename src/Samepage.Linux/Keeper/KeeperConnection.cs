using System.Text;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>One client: collects bytes until a request is complete, sends answers without ever waiting.</summary>
internal sealed class KeeperConnection(int fd) : IDisposable
{
    // A client that does not read its answers is cut off rather than stored for.
    private const int PendingBytesMax = 1 << 20;

    private byte[] _input = new byte[1024];
    private int _inputBytes;
    private byte[] _output = [];

    internal int Fd => fd;

    internal bool HasPendingOutput => _output.Length > 0;

    /// <summary>Set when the connection cannot go on: hung up, or out of step with the protocol.</summary>
    internal bool IsOver { get; private set; }

    /// <summary>Raw bytes that the next request still needs after its line.</summary>
    internal KeeperRequest? Waiting { get; set; }

    /// <summary>Takes what has arrived.</summary>
    internal unsafe void Receive()
    {
        int most = KeeperProtocol.LineBytesMax + KeeperLedger.StateBytesMax;
        if (_inputBytes == _input.Length && _input.Length < most)
        {
            Array.Resize(ref _input, Math.Min(_input.Length * 4, most));
        }

        fixed (byte* start = _input)
        {
            // SAFETY: room from _inputBytes to the end of the pinned array; a full one reads 0 bytes and ends the
            // connection.
            nint got = recv(fd, start + _inputBytes, (nuint)(_input.Length - _inputBytes), 0);
            if (got > 0)
            {
                _inputBytes += (int)got;
            }
            else if (got == 0 || LastErrno is not (EAGAIN or EINTR))
            {
                IsOver = true;
            }
        }
    }

    /// <summary>The next complete line without its end, or null. An overlong one ends the connection.</summary>
    internal byte[]? TakeLine()
    {
        int end = _input.AsSpan(0, _inputBytes).IndexOf((byte)'\n');
        if (end < 0 ? _inputBytes > KeeperProtocol.LineBytesMax : end > KeeperProtocol.LineBytesMax)
        {
            Finish($"err a request has at most {KeeperProtocol.LineBytesMax} bytes");
            return null;
        }

        if (end < 0)
        {
            return null;
        }

        byte[] line = _input.AsSpan(0, end).ToArray();
        Consume(end + 1);
        return line;
    }

    /// <summary>Exactly <paramref name="count"/> raw bytes, or null while they have not all arrived.</summary>
    internal byte[]? TakeBytes(int count)
    {
        if (_inputBytes < count)
        {
            return null;
        }

        byte[] bytes = _input.AsSpan(0, count).ToArray();
        Consume(count);
        return bytes;
    }

    internal void Answer(string line, ReadOnlySpan<byte> body = default)
    {
        byte[] head = Encoding.ASCII.GetBytes(line + "\n");
        _output = [.. _output, .. head, .. body];
        Flush();
    }

    /// <summary>Last words: the framing is lost, so nothing after them could be understood.</summary>
    internal void Finish(string line)
    {
        Answer(line);
        IsOver = true;
    }

    /// <summary>Sends as much as the client takes now.</summary>
    internal unsafe void Flush()
    {
        fixed (byte* start = _output)
        {
            int sent = 0;
            while (sent < _output.Length)
            {
                // SAFETY: the range sent .. Length lies in the pinned array.
                nint done = send(fd, start + sent, (nuint)(_output.Length - sent), MSG_NOSIGNAL);
                if (done < 0)
                {
                    IsOver |= LastErrno is not (EAGAIN or EINTR);
                    break;
                }

                sent += (int)done;
            }

            _output = _output[sent..];
        }

        IsOver |= _output.Length > PendingBytesMax;
    }

    public void Dispose() => _ = close(fd);

    private void Consume(int count)
    {
        _inputBytes -= count;
        Array.Copy(_input, count, _input, 0, _inputBytes);
    }
}
