using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;

namespace Samepage.Linux;

/// <content>What registrations made by the program itself need (madvise, prctl, /dev/ksm).</content>
public sealed partial class LiveTarget
{
    private const int BreakRoundsMax = 4;
    private const int PagesPerBreak = 1024; // what one call pins at most (PVM_MAX_USER_PAGES in the kernel)
    private static readonly nint Unreadable = Reserve();

    /// <summary>Everything that is in these pages is listed again by the next scan, written or not.</summary>
    public void ListAgain(PageRange pages)
    {
        var all = new Interception.PageSet();
        foreach (PageRange range in _unseen)
        {
            all.Add(range);
        }

        all.Add(pages);
        _unseen.Clear();
        _unseen.AddRange(all.Spans);
    }

    /// <summary>
    /// Gives merged pages their private copies back, from outside: no thread of the target is needed, so it also works
    /// while all of them wait, as the caller of MADV_UNMERGEABLE does.
    /// </summary>
    /// <param name="pages">Where.</param>
    /// <returns>Pages that are still shared: their mapping may not be written.</returns>
    /// <remarks>
    /// process_vm_writev first faults the target's pages in for writing, which breaks copy-on-write, and only then
    /// reads the bytes to write. Given bytes that cannot be read it stops there, with nothing written.
    /// </remarks>
    public long BreakSharing(PageRange pages)
    {
        long left = 0;
        for (int round = 0; round < BreakRoundsMax; round++)
        {
            left = 0;
            ulong cursor = pages.Start;
            var runs = new SharedRun[64];
            while (cursor < pages.End && IsAlive)
            {
                ulong before = cursor;
                int count = ScanShared(ref cursor, pages.End, runs);
                foreach (SharedRun run in runs.AsSpan(0, count))
                {
                    left += run.Count;
                    FaultForWriting(run);
                }

                if (cursor == before)
                {
                    break;
                }
            }

            if (left == 0)
            {
                break;
            }
        }

        return left;
    }

    // Mapped without any access, so that nothing else can come to lie there. Kept for ever.
    private static nint Reserve()
    {
        using SafeFileHandle none = new(-1, ownsHandle: false);
        nint address = Mman.mmap(
            0, PagesPerBreak * PageSize.Bytes, 0, Mman.MAP_PRIVATE | Mman.MAP_ANONYMOUS | Mman.MAP_NORESERVE, none, 0);
        return address != Mman.MAP_FAILED ? address : throw new KernelException("mmap", Errno.Last);
    }

    private unsafe void FaultForWriting(SharedRun run)
    {
        for (ulong done = 0; done < run.Count; done += PagesPerBreak)
        {
            nuint bytes = (nuint)(Math.Min(PagesPerBreak, run.Count - done) << PageSize.Shift);
            Uio.iovec local = new() { iov_base = (nuint)Unreadable, iov_len = bytes };
            Uio.iovec remote = new() { iov_base = (nuint)((run.Start + done) << PageSize.Shift), iov_len = bytes };
            // SAFETY: the local bytes are mapped without any access: the kernel cannot read one of them.
            _ = Uio.process_vm_writev(Pid, &local, 1, &remote, 1, 0);
        }
    }
}
