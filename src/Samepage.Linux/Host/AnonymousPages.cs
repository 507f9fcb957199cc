using System.Runtime.InteropServices;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Host;

/// <summary>
/// Page-aligned private anonymous memory, as an ordinary program has it; the garbage collected heap has no alignment
/// that two processes would share. Used by the demonstration's workers.
/// </summary>
internal sealed class AnonymousPages : SafeHandle
{
    private readonly long bytes;

    /// <exception cref="IOException">The kernel has no such amount.</exception>
    internal AnonymousPages(long pages)
        : base(-1, ownsHandle: true)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pages);
        bytes = pages * PageSize.Bytes;
        var start = Libc.syscall(
            HostCalls.SYS_mmap, 0, (nint)bytes, HostCalls.PROT_READ_WRITE, HostCalls.MAP_PRIVATE_ANONYMOUS, -1);
        if (start == -1)
        {
            throw new IOException($"the kernel has no {bytes} bytes of memory to give");
        }

        SetHandle((nint)start);
    }

    public override bool IsInvalid => handle == -1;

    /// <summary>Number of pages.</summary>
    internal long Count => bytes / PageSize.Bytes;

    /// <summary>The bytes of one page; not to be used after Dispose.</summary>
    internal unsafe Span<byte> this[long page]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)page, (ulong)Count, nameof(page));
            ObjectDisposedException.ThrowIf(IsClosed, this);

            // SAFETY: the page lies inside the mapping (checked above), which stays until Dispose.
            return new Span<byte>((byte*)handle + (page * PageSize.Bytes), PageSize.Bytes);
        }
    }

    protected override bool ReleaseHandle() => Libc.syscall(HostCalls.SYS_munmap, handle, (nint)bytes) == 0;
}
