using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>linux/fs.h: the PAGEMAP_SCAN ioctl of /proc/PID/pagemap (Linux 6.7).</summary>
internal static class PagemapScan
{
    internal const uint PAGEMAP_SCAN = 0xc0606610; // _IOWR('f', 16, struct pm_scan_arg)

    internal const ulong PAGE_IS_WPALLOWED = 1 << 0;
    internal const ulong PAGE_IS_WRITTEN = 1 << 1;
    internal const ulong PAGE_IS_FILE = 1 << 2;
    internal const ulong PAGE_IS_PRESENT = 1 << 3;
    internal const ulong PAGE_IS_SWAPPED = 1 << 4;
    internal const ulong PAGE_IS_PFNZERO = 1 << 5;
    internal const ulong PAGE_IS_HUGE = 1 << 6;
    internal const ulong PAGE_IS_SOFT_DIRTY = 1 << 7;

    internal const ulong PM_SCAN_WP_MATCHING = 1 << 0;
    internal const ulong PM_SCAN_CHECK_WPASYNC = 1 << 1;

    [StructLayout(LayoutKind.Sequential)]
    internal struct page_region
    {
        internal ulong start;
        internal ulong end;
        internal ulong categories;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct pm_scan_arg
    {
        internal ulong size;
        internal ulong flags;
        internal ulong start;
        internal ulong end;
        internal ulong walk_end;
        internal ulong vec;
        internal ulong vec_len;
        internal ulong max_pages;
        internal ulong category_inverted;
        internal ulong category_mask;
        internal ulong category_anyof_mask;
        internal ulong return_mask;
    }
}
