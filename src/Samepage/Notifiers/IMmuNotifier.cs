namespace Samepage;

/// <summary>
/// Somebody who keeps translations of an address space of his own and has to hear when they become wrong: a hypervisor
/// with a shadow page table, a device with its own MMU, a cache. The kernel's struct mmu_notifier_ops of the time when
/// KSM was written, with the callback KSM's first patch added, change_pte (2.6.32 to 6.9; nothing calls it any more
/// since 3.7 without an invalidation around it, and it was removed in 6.10).
/// </summary>
/// <remarks>
/// <para>The rule of that patch: whoever replaces the page behind an entry flushes the old translation without telling
/// anybody (ptep_clear_flush) and enters the new one through set_pte_at_notify, which calls <see cref="ChangePte"/>. So
/// a secondary MMU can map the new page at once instead of dropping its translation and taking an exit to find the new
/// one. KSM's replace_page does so with the read-only shared page, and copy-on-write with the private copy.</para>
/// <para>Only <see cref="InvalidatePage"/> has to be implemented. Callbacks run on the machine's thread, while the
/// address space cannot run: they must be quick, must not block, and must not call back into the machine but for
/// <see cref="MmuNotifiers.Register"/> and <see cref="MmuNotifiers.Unregister"/>.</para>
/// </remarks>
public interface IMmuNotifier
{
    /// <summary>
    /// Entries point to other pages now. Not overridden it calls <see cref="InvalidatePage"/> for each page: who does
    /// not know the callback gets the invalidation.
    /// </summary>
    void ChangePte(in PteChange change)
    {
        for (ulong address = change.Address; address < change.End; address += PageSize.Bytes)
        {
            InvalidatePage(address);
        }
    }

    /// <summary>Whatever is remembered about the page at this address is wrong from now on.</summary>
    /// <param name="address">Byte address, a multiple of <see cref="PageSize.Bytes"/>.</param>
    void InvalidatePage(ulong address);

    /// <summary>
    /// Entries of <c>[start, end)</c> are about to change: forget them, and do not look them up again before
    /// <see cref="InvalidateRangeEnd"/>. Not overridden it calls <see cref="InvalidatePage"/> for each page.
    /// </summary>
    void InvalidateRangeStart(ulong start, ulong end)
    {
        for (ulong address = start; address < end; address += PageSize.Bytes)
        {
            InvalidatePage(address);
        }
    }

    /// <summary>
    /// The changes announced by <see cref="InvalidateRangeStart"/> are done. Comes once for each of those.
    /// </summary>
    void InvalidateRangeEnd(ulong start, ulong end)
    {
    }

    /// <summary>Was the page used through this notifier's translations since the last call? Also forgets that it was.
    /// </summary>
    bool ClearFlushYoung(ulong address) => false;

    /// <summary>
    /// The address space is gone, or this notifier was unregistered: forget all translations. The last callback.
    /// </summary>
    void Release()
    {
    }
}
