namespace Samepage;

/// <summary>
/// Tells a target's notifiers what only a pass can find: sharing that a write has broken, shared pages that are gone,
/// shared pages that have appeared (adopted from an earlier daemon, moved by mremap). Pages that come one by one are put
/// together into spans. Costs nothing but a look at a property while nobody listens.
/// </summary>
internal sealed class PassNotices(ITarget target, string domain)
{
    private Notice _kind;
    private ulong _start;
    private ulong _count;
    private uint _slot;

    private enum Notice : byte
    {
        None,
        Broken,
        Dropped,
        Shared,
    }

    private bool IsWanted => target.LeavesBreaksToPasses && target.Notifiers is { Count: > 0 };

    /// <summary>A write has given the target a private copy of a shared page.</summary>
    public void Broken(ulong page) => Add(Notice.Broken, page, 0);

    /// <summary>A shared page is not there any more, or not known to be.</summary>
    public void Dropped(ulong page) => Add(Notice.Dropped, page, 0);

    /// <summary>A page turned out to be mapped from the store.</summary>
    public void Shared(ulong page, uint slot) => Add(Notice.Shared, page, slot);

    /// <summary>Whatever was shared in a span is gone with its region.</summary>
    public void Dropped(PageRange span)
    {
        Flush();
        if (IsWanted)
        {
            Invalidate(span.StartAddress, span.EndAddress);
        }
    }

    /// <summary>Tells what was gathered.</summary>
    public void Flush()
    {
        if (_kind == Notice.None)
        {
            return;
        }

        Notice kind = _kind;
        _kind = Notice.None;
        ulong address = _start << PageSize.Shift, length = _count << PageSize.Shift;
        if (!IsWanted)
        {
            return;
        }

        if (kind == Notice.Dropped)
        {
            Invalidate(address, address + length);
        }
        else if (kind == Notice.Broken)
        {
            target.Notifiers!.ChangePte(new PteChange(address, length, MmuEvent.Broken));
        }
        else
        {
            target.Notifiers!.ChangePte(
                new PteChange(address, length, MmuEvent.Shared, domain, (ulong)_slot << PageSize.Shift));
        }
    }

    private void Invalidate(ulong start, ulong end) =>
        target.Notifiers!.InvalidateRangeEnd(target.Notifiers.InvalidateRangeStart(start, end));

    private void Add(Notice kind, ulong page, uint slot)
    {
        if (_kind == Notice.None && !IsWanted)
        {
            return;
        }

        bool goesOn = kind == _kind && page == _start + _count && (kind != Notice.Shared || slot == _slot + _count);
        if (goesOn)
        {
            _count++;
            return;
        }

        Flush();
        (_kind, _start, _count, _slot) = (kind, page, 1, slot);
    }
}
