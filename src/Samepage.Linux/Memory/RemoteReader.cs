using Samepage.Linux.Interop;

namespace Samepage.Linux.Memory;

/// <summary>Reads the memory of another process in few system calls. Thread-safe.</summary>
internal static class RemoteReader
{
    /// <summary>
    /// Reads pages in order into <paramref name="destination"/> until it is full, the ranges are done, or a page
    /// cannot be read. The process runs on, so the bytes may be torn.
    /// </summary>
    /// <returns>Whole pages read before the first that could not be; 0 also when the process is gone.</returns>
    internal static int Read(int pid, ReadOnlySpan<PageRange> ranges, Span<byte> destination)
    {
        int pagesDone = 0;
        int pagesMax = destination.Length / PageSize.Bytes;
        while (!ranges.IsEmpty && pagesDone < pagesMax)
        {
            int used = Math.Min(ranges.Length, Uio.IOV_MAX);
            Span<byte> rest = destination[(pagesDone * PageSize.Bytes)..(pagesMax * PageSize.Bytes)];
            long wanted = Call(pid, ranges[..used], rest, out nint read);
            if (read < 0)
            {
                return pagesDone;
            }

            pagesDone += (int)(read / PageSize.Bytes);
            if (read < wanted)
            {
                return pagesDone;
            }

            ranges = ranges[used..];
        }

        return pagesDone;
    }

    /// <summary>One system call for at most IOV_MAX ranges; returns the bytes asked for.</summary>
    private static unsafe long Call(int pid, ReadOnlySpan<PageRange> ranges, Span<byte> destination, out nint read)
    {
        Uio.iovec* remote = stackalloc Uio.iovec[ranges.Length];
        long wanted = 0;
        nuint count = 0;
        foreach (PageRange range in ranges)
        {
            long bytes = (long)Math.Min(range.Count * PageSize.Bytes, (ulong)(destination.Length - wanted));
            if (bytes == 0)
            {
                break;
            }

            remote[count].iov_base = (nuint)range.StartAddress;
            remote[count].iov_len = (nuint)bytes;
            count++;
            wanted += bytes;
        }

        // SAFETY: the destination is pinned and iov_len is the sum of the remote lengths, which was cut to its length.
        fixed (byte* p = destination)
        {
            Uio.iovec local = new() { iov_base = (nuint)p, iov_len = (nuint)wanted };
            do
            {
                read = Uio.process_vm_readv(pid, &local, 1, remote, count, 0);
            }
            while (read < 0 && Errno.Last == Errno.EINTR);
        }

        return wanted;
    }
}
