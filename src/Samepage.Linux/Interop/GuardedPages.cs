using System.Buffers;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>
/// Whole pages of memory with an inaccessible page before and behind them: code that reads or writes one byte too far
/// does not go unnoticed, the process dies.
/// </summary>
internal sealed partial class GuardedPages : MemoryManager<byte>
{
    private const int PROT_NONE = 0;
    private const int PROT_READ = 1;
    private const int PROT_WRITE = 2;
    private const int MAP_PRIVATE = 2;
    private const int MAP_ANONYMOUS = 0x20;
    private const nint MAP_FAILED = -1;

    private readonly int _bytes;
    private nint _mapping;

    /// <summary>Maps that many zero pages and the two guards.</summary>
    /// <exception cref="Win32Exception">The kernel refused.</exception>
    public GuardedPages(int pages)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pages);
        _bytes = checked(pages * PageSize.Bytes);
        var mapping = mmap(0, MappedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapping == MAP_FAILED)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }

        _mapping = mapping;
        if (mprotect(mapping + PageSize.Bytes, (nuint)_bytes, PROT_READ | PROT_WRITE) != 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Address of the first page between the guards.</summary>
    public ulong Address => (ulong)_mapping + PageSize.Bytes;

    private nuint MappedBytes => (nuint)_bytes + (2 * PageSize.Bytes);

    /// <inheritdoc/>
    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_mapping == 0, this);
        // SAFETY: the pages between the guards are mapped, readable and writable until Dispose has set _mapping to 0.
        unsafe
        {
            return new Span<byte>((void*)(_mapping + PageSize.Bytes), _bytes);
        }
    }

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ObjectDisposedException.ThrowIf(_mapping == 0, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_bytes, nameof(elementIndex));
        // SAFETY: the address lies in the mapping or one byte behind its pages; mapped memory does not move.
        unsafe
        {
            return new MemoryHandle((void*)(_mapping + PageSize.Bytes + elementIndex));
        }
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
        // Nothing was pinned: the memory is not the collector's.
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_mapping != 0)
        {
            _ = munmap(_mapping, MappedBytes);
            _mapping = 0;
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint mmap(nint address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int mprotect(nint address, nuint length, int protection);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int munmap(nint address, nuint length);
}
