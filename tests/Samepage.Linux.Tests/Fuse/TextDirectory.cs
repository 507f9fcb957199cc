using System.Text;
using Samepage.Linux.Fuse;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>A directory for tests: a text that is kept, one that cannot be written, and one whose writers wait until
/// they are interrupted or let go, and one whose reader hangs, and the server with it.</summary>
internal sealed class TextDirectory : IFuseDirectory
{
    public const int Kept = 0, Fixed = 1, Slow = 2, Stuck = 3;

    private readonly TaskCompletionSource go = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private byte[] text = "first\n"u8.ToArray();

    public IReadOnlyList<FuseFile> Files { get; } =
        [new("kept", true), new("fixed", false), new("slow", true), new("stuck", false)];

    public int Waiting => waiting;

    private int waiting;

    public void LetGo() => go.TrySetResult();

    public byte[] Read(int file)
    {
        if (file == Stuck)
        {
            Interlocked.Increment(ref waiting);
            go.Task.Wait();
        }

        return file == Kept ? text : "fixed\n"u8.ToArray();
    }

    public async ValueTask<int> Write(int file, ReadOnlyMemory<byte> data, CancellationToken interrupted)
    {
        switch (Encoding.Latin1.GetString(data.Span).TrimEnd('\n'))
        {
            case "bad":
                return -Errno.EINVAL;
            case "zero":
                return 0;
            case "throw":
                throw new InvalidOperationException("a fault in a test");
        }

        if (file == Slow)
        {
            Interlocked.Increment(ref waiting);
            await go.Task.WaitAsync(interrupted);
        }

        text = data.ToArray();
        return data.Length;
    }
}
