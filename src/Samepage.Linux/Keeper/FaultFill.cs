using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.Userfaultfd;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>The ioctls that put something at an empty page-table entry. Each answers the bytes done, from the front,
/// or -errno when none; each wakes whoever waits for the bytes done.</summary>
internal static class FaultFill
{
    /// <summary>Maps the kernel's zero page: no memory. EEXIST at a write-protect marker.</summary>
    internal static unsafe long ZeroPages(int fd, ulong address, uint bytes)
    {
        uffdio_zeropage call = new() { range = new uffdio_range { start = address, len = bytes } };
        // SAFETY: the argument has the kernel's layout and lives on this frame for the whole call.
        return ioctl(fd, UFFDIO_ZEROPAGE, &call) == 0 || call.zeropage > 0 ? call.zeropage : -LastErrno;
    }

    /// <summary>Fills fresh pages from <paramref name="source"/>; replaces write-protect markers.</summary>
    internal static unsafe long CopyPages(int fd, ulong address, byte* source, uint bytes)
    {
        uffdio_copy call = new() { dst = address, src = (ulong)source, len = bytes };
        // SAFETY: the caller's buffer has at least `bytes` bytes, and the kernel only reads it.
        return ioctl(fd, UFFDIO_COPY, &call) == 0 || call.copy > 0 ? call.copy : -LastErrno;
    }

    /// <summary>Maps what the file has there.</summary>
    internal static unsafe long StorePages(int fd, ulong address, uint bytes)
    {
        uffdio_continue call = new() { range = new uffdio_range { start = address, len = bytes } };
        // SAFETY: as above.
        return ioctl(fd, UFFDIO_CONTINUE, &call) == 0 || call.mapped > 0 ? call.mapped : -LastErrno;
    }

    /// <summary>Lets waiting threads look again, without changing anything.</summary>
    internal static unsafe void Wake(int fd, ulong address, uint bytes)
    {
        uffdio_range call = new() { start = address, len = bytes };
        // SAFETY: as above.
        _ = ioctl(fd, UFFDIO_WAKE, &call);
    }

    /// <summary>Lets all waiting threads of an address space look again.</summary>
    internal static unsafe void WakeAll(int fd)
    {
        const ulong End = 0x7FFF_FFFF_F000;
        // From the lowest address that may be mapped: vm.mmap_min_addr as distributions set it, then a safe guess.
        foreach (ulong start in (ReadOnlySpan<ulong>)[0x1000, 0x1_0000, 0x10_0000])
        {
            uffdio_range call = new() { start = start, len = End - start };
            // SAFETY: as above.
            if (ioctl(fd, UFFDIO_WAKE, &call) == 0)
            {
                return;
            }
        }

        KeeperLog.Write($"cannot wake the waiters of a userfaultfd: errno {LastErrno}");
    }
}
