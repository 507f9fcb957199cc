using System.Text;
using Samepage.Daemon.Loop;
using Samepage.Linux.Fuse;
using Samepage.Linux.Interop;

namespace Samepage.Daemon.AdminFiles;

/// <summary>A view as a mount shows it: reads from the board, writes through the engine's loop.</summary>
internal sealed class AdminDirectory(AdminView view, SnapshotBoard board, EngineLoop loop) : IFuseDirectory
{
    /// <inheritdoc/>
    public IReadOnlyList<FuseFile> Files { get; } =
        [.. view.Files.Select(file => new FuseFile(file.Name, file.Store is not null))];

    /// <inheritdoc/>
    public byte[] Read(int file) => Encoding.ASCII.GetBytes(view.Files[file].Show(board.Latest) + "\n");

    /// <inheritdoc/>
    public async ValueTask<int> Write(int file, ReadOnlyMemory<byte> data, CancellationToken interrupted)
    {
        var text = KernelNumbers.Text(data.Span);
        int error;
        try
        {
            error = await Ask(view.Files[file].Store!, text, interrupted).ConfigureAwait(false);
        }
        catch (RequestException)
        {
            return -Errno.EIO; // the daemon is ending, or was asked too much at once
        }

        return error == 0 ? data.Length : error == Errno.EINVAL && view.BadWriteReturnsZero ? 0 : -error;
    }

    /// <summary>A writer that is interrupted while the loop is busy with others need not wait for it; one whose command
    /// has begun has to, because only the command can end consistently.</summary>
    private async Task<int> Ask(AdminStore store, string text, CancellationToken interrupted)
    {
        const int waiting = 0;
        const int begun = 1;
        const int withdrawn = 2;
        var state = waiting;
        var answer = loop.Ask(
            supervisor => Interlocked.CompareExchange(ref state, begun, waiting) == waiting
                ? store(supervisor, text, interrupted)
                : Errno.EINTR,
            CancellationToken.None);
        var signal = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var _ = interrupted.Register(signal.SetResult).ConfigureAwait(false);
        await Task.WhenAny(answer, signal.Task).ConfigureAwait(false);
        return !answer.IsCompleted && Interlocked.CompareExchange(ref state, withdrawn, waiting) == waiting
            ? Errno.EINTR
            : await answer.ConfigureAwait(false);
    }
}
