namespace Samepage;

// What happens to the pages of one process.
public sealed partial class SamepageClient
{
    /// <summary>Which pages of a process are shared now, and where in which store.</summary>
    /// <param name="pid">Process id.</param>
    /// <param name="cancel">Ends the wait.</param>
    public Task<PagesDocument> GetPagesAsync(int pid, CancellationToken cancel = default) =>
        _daemon.Ask(HttpMethod.Get, Target(pid) + "/pages", DaemonConnection.Json.PagesDocument, cancel);

    /// <summary>
    /// What happens to the pages of a process from now on: first an event of kind "listening". Ends after "released",
    /// or with the daemon. docs/notifiers.md says what is known when.
    /// </summary>
    /// <param name="pid">Process id.</param>
    /// <param name="cancel">Ends it.</param>
    public IAsyncEnumerable<PageEventDocument> ListenToPagesAsync(int pid, CancellationToken cancel = default) =>
        _daemon.Listen(Target(pid) + "/events", DaemonConnection.Json.PageEventDocument, cancel);

    /// <summary>
    /// Drives a notifier with what happens to the pages of a process: first every page that is shared already
    /// (<see cref="MmuEvent.Shared"/>), then each change, in order. When this reader did not keep up, everything is
    /// invalidated and told anew; nothing is ever skipped silently. Callbacks come one at a time, while the process runs
    /// on: for being called before it does, register inside the daemon.
    /// </summary>
    /// <param name="pid">Process id; attached.</param>
    /// <param name="notifier">Told; must not throw. Its Release comes when the process is gone or detached.</param>
    /// <param name="reached">
    /// Told after the notifier: the number of the last event that has been given to it
    /// (<see cref="PageEventDocument.Sequence"/>).
    /// </param>
    /// <param name="cancel">Ends it, without a Release.</param>
    /// <returns>Completes after Release.</returns>
    /// <exception cref="SamepageException"><see cref="SamepageError.NotFound"/>: it is not attached;
    /// <see cref="SamepageError.NoDaemon"/>: the daemon went away: what the notifier knows is no longer kept up.</exception>
    public async Task FollowPagesAsync(
        int pid, IMmuNotifier notifier, IProgress<long>? reached = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(notifier);
        long known = 0;
        await foreach (PageEventDocument happened in ListenToPagesAsync(pid, cancel).ConfigureAwait(false))
        {
            if (happened.Kind == "released")
            {
                notifier.Release();
                return;
            }

            if (happened.Kind is "listening" or "gap")
            {
                known = await TellAll(pid, notifier, isNew: happened.Kind == "listening", cancel).ConfigureAwait(false);
            }
            else if (happened.Sequence > known)
            {
                Tell(notifier, happened);
                known = happened.Sequence;
            }

            reached?.Report(known);
        }

        throw DaemonConnection.NoResult();
    }

    private async Task<long> TellAll(int pid, IMmuNotifier notifier, bool isNew, CancellationToken cancel)
    {
        const ulong userAddressesEnd = 1ul << 47;
        if (!isNew)
        {
            notifier.InvalidateRangeStart(0, userAddressesEnd);
        }

        PagesDocument pages = await GetPagesAsync(pid, cancel).ConfigureAwait(false);
        if (!isNew)
        {
            notifier.InvalidateRangeEnd(0, userAddressesEnd);
        }

        foreach (SharedRunDocument run in pages.Shared)
        {
            notifier.ChangePte(new PteChange(run.Address, run.Length, MmuEvent.Shared, run.Store, run.StoreOffset));
        }

        return pages.Sequence;
    }

    private static void Tell(IMmuNotifier notifier, PageEventDocument happened)
    {
        ulong end = happened.Address + happened.Length;
        switch (happened.Kind)
        {
            case "shared":
                notifier.ChangePte(new PteChange(
                    happened.Address, happened.Length, MmuEvent.Shared, happened.Store, happened.StoreOffset ?? 0));
                break;
            case "zeroed":
                notifier.ChangePte(new PteChange(happened.Address, happened.Length, MmuEvent.Zeroed));
                break;
            case "broken":
                notifier.ChangePte(new PteChange(happened.Address, happened.Length, MmuEvent.Broken));
                break;
            case "unshared":
                notifier.ChangePte(new PteChange(happened.Address, happened.Length, MmuEvent.Unshared));
                break;
            case "invalidate_start":
                notifier.InvalidateRangeStart(happened.Address, end);
                break;
            case "invalidate_end":
                notifier.InvalidateRangeEnd(happened.Address, end);
                break;
            default:
                // A newer daemon's: whatever it means, what is known about these pages may be wrong.
                notifier.InvalidateRangeStart(happened.Address, end);
                notifier.InvalidateRangeEnd(happened.Address, end);
                break;
        }
    }
}
