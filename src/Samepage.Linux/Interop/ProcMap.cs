using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>linux/fs.h: one memory area of a process by address, asked of its maps file (Linux 6.11).</summary>
internal static class ProcMap
{
    internal const ulong PROCMAP_QUERY = 0xc0686611;
    internal const ulong PROCMAP_QUERY_VMA_SHARED = 0x08;
    internal const ulong PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10;

    [StructLayout(LayoutKind.Sequential)]
    internal struct procmap_query
    {
        internal ulong size;
        internal ulong query_flags;
        internal ulong query_addr;
        internal ulong vma_start;
        internal ulong vma_end;
        internal ulong vma_flags;
        internal ulong vma_page_size;
        internal ulong vma_offset;
        internal ulong inode;
        internal uint dev_major;
        internal uint dev_minor;
        internal uint vma_name_size;
        internal uint build_id_size;
        internal ulong vma_name_addr;
        internal ulong build_id_addr;
    }
}
