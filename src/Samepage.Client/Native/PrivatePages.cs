using System.Buffers;
using System.Runtime.InteropServices;

namespace Samepage.Native;

/// <summary>
/// A private anonymous mapping, and the views of it that need a pointer. The only unsafe code of the library: it stays
/// here, so that a program with the library does not carry the tracer of src/Samepage.Linux with it.
/// </summary>
internal sealed partial class PrivatePages
{
    // asm-generic/mman-common.h, the same on all architectures .NET runs on.
    private const int PROT_NONE = 0;
    private const int PROT_READ = 1;
    private const int PROT_WRITE = 2;
    private const int MAP_PRIVATE = 0x02;
    private const int MAP_FIXED = 0x10;
    private const int MAP_ANONYMOUS = 0x20;
    private const int MAP_NORESERVE = 0x4000;
    private const nint MAP_FAILED = -1;

    private readonly nint _address;
    private readonly nuint _bytes;

    private PrivatePages(nint address, nuint bytes) => (_address, _bytes) = (address, bytes);

    internal ulong Address => (ulong)_address;

    internal ulong Bytes => _bytes;

    /// <summary>Maps zeroed memory, readable and writable.</summary>
    /// <exception cref="InsufficientMemoryException">The kernel refused.</exception>
    internal static PrivatePages Map(nuint bytes)
    {
        nint address = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return address != MAP_FAILED
            ? new PrivatePages(address, bytes)
            : throw new InsufficientMemoryException(
                $"no mapping of {bytes} bytes: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");
    }

    /// <summary>
    /// Frees the memory and keeps the address range, so that nothing else can come to lie there meanwhile. False when
    /// the kernel refuses (the process is at its limit of mappings); then everything is as before.
    /// </summary>
    internal bool Vacate() =>
        mmap(_address, _bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == _address;

    /// <summary>Unmaps it. Nothing of this object may be used any more.</summary>
    internal void Unmap() => _ = munmap(_address, _bytes);

    internal unsafe Span<byte> Span(int length)
    {
        // SAFETY: the mapping has at least length bytes (its only user rounds up) and exists until Unmap, after which
        // MergeableMemory hands out no span any more.
        return new Span<byte>((void*)_address, length);
    }

    internal unsafe MemoryHandle Handle(int offset, IPinnable owner)
    {
        // SAFETY: offset lies within the mapping, which the owner keeps until the handle is disposed.
        return new MemoryHandle((byte*)_address + offset, default, owner);
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint mmap(nint address, nuint bytes, int protection, int flags, int descriptor, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int munmap(nint address, nuint bytes);
}
