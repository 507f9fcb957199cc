using Samepage.Linux.Memory;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <content>
/// Carrying out plans beside the engine. While that goes on, the engine's thread may list changed pages and read them:
/// these need nothing that windows use. Whatever else it asks for waits until the plans are through.
/// </content>
public sealed partial class LiveTarget
{
    private const int ScatteredMin = 8;

    private TracerThread.Job? _started;

    /// <inheritdoc/>
    public void Start(IPageStore store, Memory<MergePlan> plans)
    {
        if (Notifiers.Count > 0)
        {
            // Listeners are told on the engine's thread only.
            Execute(store, plans.Span);
            return;
        }

        AwaitStarted();
        // On the thread that runs the windows: no window waits for another thread to wake up.
        _started = _tracer.Start(() => CarryOut(store, plans.Span, moreToCome: true));
    }

    /// <inheritdoc/>
    public int Read(ReadOnlySpan<PageRange> pages, Span<byte> destination)
    {
        // The kernel takes the lock of the address space for each range, and a stop window wants it for each step it
        // makes: with many small ranges both sleep all the time, and the target stands still the longer.
        if (pages.Length > ScatteredMin && _started is { HasBegun: true } windows)
        {
            windows.Wait();
        }

        return _gone ? 0 : RemoteReader.Read(Pid, pages, destination);
    }

    /// <inheritdoc/>
    public bool IsUnderWay => _started is { IsDone: false };

    /// <inheritdoc/>
    public void Finish()
    {
        using TracerThread.Job? started = _started;
        _started = null;
        started?.Wait();
        started?.ThrowIfFailed();
    }

    /// <inheritdoc/>
    public void Rest()
    {
        AwaitStarted();
        DropStoreWindow();
    }

    private void AwaitStarted() => _started?.Wait();
}
