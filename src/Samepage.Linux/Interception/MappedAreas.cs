using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;
using static Samepage.Linux.Interop.ProcMap;

namespace Samepage.Linux.Interception;

/// <summary>
/// The memory areas of one address space, asked through an open maps file. The file belongs to the address space it was
/// opened for: after exit or execve every question says so, whoever has the process's number by then.
/// </summary>
internal sealed class MappedAreas : IDisposable
{
    private const ulong UserAddressEnd = 1UL << 47;

    private readonly SafeFileHandle _maps;
    private readonly ProcBuffer _buffer = new();
    private bool _hasQuery = true;

    private MappedAreas(SafeFileHandle maps) => _maps = maps;

    /// <summary>Opens a process's areas; null when it is gone or may not be looked at.</summary>
    internal static MappedAreas? TryOpen(int pid)
    {
        SafeFileHandle maps = Fcntl.OpenAt(null, $"/proc/{pid}/maps", Fcntl.O_RDONLY | Fcntl.O_CLOEXEC);
        if (!maps.IsInvalid)
        {
            return new MappedAreas(maps);
        }

        maps.Dispose();
        return null;
    }

    /// <summary>True while the address space exists.</summary>
    internal bool IsAlive => Next(0, out _, out _, out _) is 0 or Errno.ENOENT;

    /// <summary>Collects the mapped parts of a span that are private to the process.</summary>
    /// <param name="pages">The span.</param>
    /// <param name="parts">Receives them, in address order.</param>
    /// <returns>0, ENOMEM when the span has a gap, ESRCH when the address space is gone.</returns>
    internal int Walk(PageRange pages, List<PageRange> parts)
    {
        parts.Clear();
        int error = 0;
        for (ulong at = pages.Start; at < pages.End;)
        {
            int found = Next(at << PageSize.Shift, out ulong start, out ulong end, out bool shared);
            if (found == Errno.ENOENT)
            {
                return Errno.ENOMEM;
            }

            if (found != 0)
            {
                return found;
            }

            ulong first = start >> PageSize.Shift;
            ulong last = end >> PageSize.Shift;
            if (first > at)
            {
                error = Errno.ENOMEM;
                at = first;
            }

            PageRange part = new PageRange(at, last).Intersect(pages);
            if (!part.IsEmpty && !shared)
            {
                parts.Add(part);
            }

            at = Math.Max(last, at + 1);
        }

        return error;
    }

    public void Dispose() => _maps.Dispose();

    /// <summary>The area that covers an address, or the next one above.</summary>
    private unsafe int Next(ulong address, out ulong start, out ulong end, out bool shared)
    {
        if (!_hasQuery)
        {
            return NextByText(address, out start, out end, out shared);
        }

        procmap_query query = new()
        {
            size = (ulong)sizeof(procmap_query),
            query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
            query_addr = address,
        };
        // SAFETY: the structure has the size it says, and no names are asked for.
        int result = Ioctl.ioctl(_maps, (nuint)PROCMAP_QUERY, &query);
        start = query.vma_start;
        end = query.vma_end;
        shared = (query.vma_flags & PROCMAP_QUERY_VMA_SHARED) != 0;
        if (result == 0)
        {
            return 0;
        }

        int errno = Errno.Last;
        if (errno != Errno.ENOTTY)
        {
            return errno;
        }

        _hasQuery = false; // before Linux 6.11
        return NextByText(address, out start, out end, out shared);
    }

    private int NextByText(ulong address, out ulong start, out ulong end, out bool shared)
    {
        start = end = 0;
        shared = false;
        int errno = _buffer.ReadAll(_maps);
        if (errno != 0 || _buffer.Length == 0)
        {
            return Errno.ESRCH;
        }

        var parser = new MapsParser(_buffer.Text);
        while (parser.TryNext(out MapsLine line))
        {
            // The vsyscall page is listed, but the kernel's own calls do not see it as mapped.
            if (line.End > address && line.End <= UserAddressEnd)
            {
                start = line.Start;
                end = line.End;
                shared = line.IsShared;
                return 0;
            }
        }

        return Errno.ENOENT;
    }
}
