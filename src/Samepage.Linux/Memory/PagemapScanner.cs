using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;
using static Samepage.Linux.Interop.PagemapScan;

namespace Samepage.Linux.Memory;

/// <summary>How a scan ended.</summary>
internal enum ScanStatus
{
    /// <summary>The cursor says how far it came.</summary>
    Done,

    /// <summary>Part of the range is not registered for write tracking: register it and scan on from the cursor. The
    /// runs returned are good.</summary>
    NotTracked,

    /// <summary>The address space is gone.</summary>
    Gone,
}

/// <summary>
/// Lists pages of one process by the PAGEMAP_SCAN ioctl (Linux 6.7, Documentation/admin-guide/mm/pagemap.rst).
/// The descriptor belongs to the address space there was when it was opened: after the process has executed another
/// program or has exited, nothing is listed. Not thread-safe.
/// </summary>
internal sealed class PagemapScanner : IDisposable
{
    /// <summary>Runs fetched by one system call.</summary>
    internal const int RunsPerCall = 512;

    private const int BytesPerEntry = 8;

    /// <summary>Two suspects this near are asked about together: looking at the pages between costs less than
    /// another system call.</summary>
    private const ulong SuspectGapPages = 32;

    private static readonly pm_scan_arg Written = new()
    {
        flags = PM_SCAN_CHECK_WPASYNC,
        category_mask = PAGE_IS_WRITTEN,
        return_mask = PAGE_IS_WRITTEN,
    };

    // Store pages and zero pages are marked too, or the bare question would name them for ever; they are not reported.
    private static readonly pm_scan_arg WrittenPresent = new()
    {
        flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
        category_mask = PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
        return_mask = PAGE_IS_PRESENT | PAGE_IS_FILE | PAGE_IS_PFNZERO,
    };

    private static readonly pm_scan_arg PresentAtAll = new()
    {
        flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
        category_mask = PAGE_IS_PRESENT,
        return_mask = PAGE_IS_PRESENT | PAGE_IS_FILE | PAGE_IS_PFNZERO,
    };

    private readonly SafeFileHandle _pagemap;
    private readonly page_region[] _vector = GC.AllocateArray<page_region>(RunsPerCall, pinned: true);

    private readonly PageRange[] _suspects = new PageRange[RunsPerCall];

    private PagemapScanner(SafeFileHandle pagemap) => _pagemap = pagemap;

    /// <summary>System calls made so far.</summary>
    internal long Calls { get; private set; }

    /// <summary>Opens the pagemap of a process.</summary>
    /// <exception cref="TargetException">Gone, or not permitted.</exception>
    internal static PagemapScanner Open(ProcReader proc)
    {
        SafeFileHandle pagemap = proc.Open("pagemap", out int errno);
        if (!pagemap.IsInvalid)
        {
            return new PagemapScanner(pagemap);
        }

        pagemap.Dispose();
        throw errno is Errno.EACCES or Errno.EPERM
            ? ProcessIdentity.NotPermitted(proc.Pid, errno)
            : ProcessIdentity.NoSuchProcess(proc.Pid);
    }

    /// <summary>
    /// Lists pages of <c>[cursor, end)</c> that are present, anonymous, not the zero page and written since they were
    /// last listed, and write-protects them in the same step so that the next write is noticed.
    /// </summary>
    /// <remarks>
    /// The question that does this looks at every page's kind, 13 ns each. The kernel has a short way (1 ns) for the
    /// bare question "written?", whose answer also names holes, zero pages and store pages. So that is asked first,
    /// and the full question only about what it named.
    /// </remarks>
    /// <param name="cursor">Where to start; moved to where the next call starts.</param>
    /// <param name="end">Page to stop before.</param>
    /// <param name="runs">Receives runs in address order.</param>
    /// <param name="count">Runs received.</param>
    /// <param name="pagesMax">Most pages to list; 0 for no limit.</param>
    internal ScanStatus Changed(
        ref ulong cursor, ulong end, Span<PageRange> runs, out int count, ulong pagesMax = 0)
    {
        count = 0;
        ulong pagesLeft = pagesMax == 0 ? ulong.MaxValue : pagesMax;
        while (cursor < end && count < runs.Length && pagesLeft > 0)
        {
            ulong next = cursor;
            ScanStatus status = Scan(Written, ref next, end, _suspects, out int suspects, 0, oneCall: true);
            for (int i = 0; i < suspects;)
            {
                PageRange group = _suspects[i++];
                while (i < suspects && _suspects[i].Start - group.End <= SuspectGapPages)
                {
                    group = new PageRange(group.Start, _suspects[i++].End);
                }

                cursor = group.Start;
                ScanStatus found = Scan(
                    WrittenPresent, ref cursor, group.End, runs[count..], out int more, pagesLeft);
                pagesLeft -= pagesMax == 0 ? 0 : Math.Min(pagesLeft, Pages(runs.Slice(count, more)));
                count += more;
                if (found != ScanStatus.Done || cursor < group.End || count == runs.Length || pagesLeft == 0)
                {
                    return found;
                }
            }

            if (status != ScanStatus.Done)
            {
                return status;
            }

            cursor = next;
        }

        return ScanStatus.Done;
    }

    /// <summary>As <see cref="Changed"/>, whether written or not: for memory that somebody else has looked at before.</summary>
    internal ScanStatus Everything(ref ulong cursor, ulong end, Span<PageRange> runs, out int count) =>
        Scan(PresentAtAll, ref cursor, end, runs, out count, 0);

    /// <summary>The same without write tracking: every page that is present, anonymous and not the zero page.</summary>
    internal ScanStatus Present(ref ulong cursor, ulong end, Span<PageRange> runs, out int count)
    {
        pm_scan_arg query = new()
        {
            category_mask = PAGE_IS_PRESENT | PAGE_IS_FILE | PAGE_IS_PFNZERO,
            category_inverted = PAGE_IS_FILE | PAGE_IS_PFNZERO,
            return_mask = PAGE_IS_PRESENT,
        };
        return Scan(query, ref cursor, end, runs, out count, 0);
    }

    /// <summary>Pages that are present and come from a file: in a merged mapping, those whose sharing is
    /// unbroken.</summary>
    internal ScanStatus Shared(ref ulong cursor, ulong end, Span<PageRange> runs, out int count)
    {
        pm_scan_arg query = new()
        {
            category_mask = PAGE_IS_PRESENT | PAGE_IS_FILE,
            return_mask = PAGE_IS_PRESENT,
        };
        return Scan(query, ref cursor, end, runs, out count, 0);
    }

    /// <summary>Pages that are swapped out.</summary>
    internal ScanStatus Swapped(ref ulong cursor, ulong end, Span<PageRange> runs, out int count)
    {
        pm_scan_arg query = new() { category_mask = PAGE_IS_SWAPPED, return_mask = PAGE_IS_SWAPPED };
        return Scan(query, ref cursor, end, runs, out count, 0);
    }

    /// <summary>Reads the classic pagemap: one entry per page from <paramref name="page"/> on.</summary>
    /// <returns>Entries read; fewer at the end of the address space or when the process is gone.</returns>
    internal int ReadEntries(ulong page, Span<PagemapEntry> entries)
    {
        Span<byte> bytes = MemoryMarshal.AsBytes(entries);
        int done = 0;
        while (done < bytes.Length)
        {
            nint n = Fcntl.Read(_pagemap, bytes[done..], (long)page * BytesPerEntry + done);
            if (n <= 0)
            {
                break;
            }

            done += (int)n;
        }

        return done / BytesPerEntry;
    }

    public void Dispose() => _pagemap.Dispose();

    private ScanStatus Scan(
        in pm_scan_arg query, ref ulong cursor, ulong end, Span<PageRange> runs, out int count, ulong pagesMax,
        bool oneCall = false)
    {
        pagesMax = pagesMax == ulong.MaxValue ? 0 : pagesMax;
        // What is only returned to be told apart is not listed.
        ulong skipped = query.return_mask == WrittenPresent.return_mask ? PAGE_IS_FILE | PAGE_IS_PFNZERO : 0;
        count = 0;
        while (cursor < end && count < runs.Length)
        {
            int wanted = Math.Min(runs.Length - count, RunsPerCall);
            pm_scan_arg call = query;
            call.start = cursor << PageSize.Shift;
            call.end = end << PageSize.Shift;
            call.max_pages = pagesMax;
            long got = Call(ref call, wanted);
            if (got < 0)
            {
                int errno = Errno.Last;
                if (errno == Errno.EPERM)
                {
                    // Pages before the untracked mapping may be write-protected by now, so they must be reported;
                    // the kernel filled them in although it returned no count.
                    Take(CountFilled(wanted), skipped, runs, ref count, ref cursor, ref pagesMax);
                    return ScanStatus.NotTracked;
                }

                return errno == Errno.ESRCH ? ScanStatus.Gone : throw new IOException(
                    $"PAGEMAP_SCAN of {new PageRange(cursor, end)} failed: {Errno.Text(errno)}");
            }

            bool limited = pagesMax != 0;
            Take((int)got, skipped, runs, ref count, ref cursor, ref pagesMax);
            cursor = Math.Max(cursor, Math.Min(call.walk_end >> PageSize.Shift, end));
            if (oneCall || (limited && pagesMax == 0))
            {
                break;
            }
        }

        return ScanStatus.Done;
    }

    private long Call(ref pm_scan_arg call, int wanted)
    {
        Array.Clear(_vector, 0, wanted);
        Calls++;
        long result;
        // SAFETY: the vector is pinned for good and vec_len is within it; the argument lives on the caller's stack.
        unsafe
        {
            fixed (pm_scan_arg* argument = &call)
            {
                call.size = (ulong)sizeof(pm_scan_arg);
                call.vec = (ulong)Marshal.UnsafeAddrOfPinnedArrayElement(_vector, 0);
                call.vec_len = (ulong)wanted;
                do
                {
                    result = Ioctl.ioctl(_pagemap, PAGEMAP_SCAN, argument);
                }
                while (result < 0 && Errno.Last == Errno.EINTR);
            }
        }

        return result;
    }

    private static ulong Pages(ReadOnlySpan<PageRange> runs)
    {
        ulong pages = 0;
        foreach (PageRange run in runs)
        {
            pages += run.Count;
        }

        return pages;
    }

    private int CountFilled(int wanted)
    {
        int filled = 0;
        while (filled < wanted && _vector[filled].end != 0)
        {
            filled++;
        }

        return filled;
    }

    private void Take(int got, ulong skipped, Span<PageRange> runs, ref int count, ref ulong cursor, ref ulong pagesMax)
    {
        foreach (ref readonly page_region region in _vector.AsSpan(0, got))
        {
            PageRange run = new(region.start >> PageSize.Shift, region.end >> PageSize.Shift);
            cursor = Math.Max(cursor, run.End);
            if ((region.categories & skipped) != 0)
            {
                continue;
            }

            pagesMax -= Math.Min(pagesMax, run.Count);
            // Neighbours come apart only where the kernel's own buffer was full.
            if (count > 0 && runs[count - 1].End == run.Start)
            {
                runs[count - 1] = new PageRange(runs[count - 1].Start, run.End);
            }
            else
            {
                runs[count++] = run;
            }
        }
    }
}

/// <summary>
/// One 64-bit entry of /proc/PID/pagemap:
/// <c>[63 present][62 swapped][61 file or shared][57 uffd write-protected][56 exclusive][55 soft-dirty][54..0 PFN]</c>.
/// </summary>
/// <param name="Value">As read.</param>
internal readonly record struct PagemapEntry(ulong Value)
{
    /// <summary>There is a page-table entry with a page.</summary>
    internal bool IsPresent => (Value >> 63) != 0;

    /// <summary>The page is swapped out (or under migration).</summary>
    internal bool IsSwapped => ((Value >> 62) & 1) != 0;

    /// <summary>The page belongs to a file or to shared memory; in a merged mapping: not broken.</summary>
    internal bool IsFile => ((Value >> 61) & 1) != 0;

    /// <summary>Write-protected by userfaultfd.</summary>
    internal bool IsWriteProtected => ((Value >> 57) & 1) != 0;

    /// <summary>Mapped exactly once (Linux 4.2).</summary>
    internal bool IsExclusive => ((Value >> 56) & 1) != 0;

    /// <summary>Page frame number of a present page; 0 without CAP_SYS_ADMIN.</summary>
    internal ulong PageFrame => IsPresent ? Value & ((1ul << 55) - 1) : 0;
}
