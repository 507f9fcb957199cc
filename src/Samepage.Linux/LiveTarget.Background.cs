namespace Samepage.Linux;

/// <content>
/// Carrying out plans beside the engine. While that goes on, the engine's thread may list changed pages and read them:
/// these need nothing that windows use. Whatever else it asks for waits until the plans are through.
/// </content>
public sealed partial class LiveTarget
{
    private Task? _started;

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
        _started = _machine.Background.Start(() => CarryOut(store, plans.Span, moreToCome: true));
    }

    /// <inheritdoc/>
    public void Finish()
    {
        Task? started = _started;
        _started = null;
        started?.GetAwaiter().GetResult();
    }

    /// <inheritdoc/>
    public void Rest()
    {
        AwaitStarted();
        DropStoreWindow();
    }

    private void AwaitStarted() => _started?.GetAwaiter().GetResult();
}
