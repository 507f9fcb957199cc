using System.Runtime.InteropServices;
using Samepage.Linux.Program;

namespace Samepage.Linux.Interop;

/// <summary>Anonymous memory from mmap, zeroed, page aligned.</summary>
internal sealed class NativePages : SafeHandle
{
    public NativePages(int bytes)
        : base(-1, ownsHandle: true)
    {
        Bytes = bytes;
        SetHandle((nint)Libc.Check(
            Libc.syscall(Abi.SYS_mmap, 0, bytes, Abi.PROT_READ | Abi.PROT_WRITE, Abi.MAP_PRIVATE | Abi.MAP_ANONYMOUS, -1, 0),
            "mmap"));
    }

    public int Bytes { get; }

    public nint Address => handle;

    public override bool IsInvalid => handle == -1;

    protected override bool ReleaseHandle() => Libc.syscall(Abi.SYS_munmap, handle, Bytes) == 0;
}

/// <summary>Machine code in memory that is written once and then only executed.</summary>
internal sealed class ExecutablePages : SafeHandle
{
    private readonly int _bytes;

    public ExecutablePages(ReadOnlySpan<byte> code)
        : base(-1, ownsHandle: true)
    {
        _bytes = (code.Length + 4095) & ~4095;
        SetHandle((nint)Libc.Check(
            Libc.syscall(Abi.SYS_mmap, 0, _bytes, Abi.PROT_READ | Abi.PROT_WRITE, Abi.MAP_PRIVATE | Abi.MAP_ANONYMOUS, -1, 0),
            "mmap"));
        Marshal.Copy(code.ToArray(), 0, handle, code.Length);
        Libc.Check(Libc.syscall(Abi.SYS_mprotect, handle, _bytes, Abi.PROT_READ | Abi.PROT_EXEC), "mprotect");
    }

    public nint Address => handle;

    public override bool IsInvalid => handle == -1;

    protected override bool ReleaseHandle() => Libc.syscall(Abi.SYS_munmap, handle, _bytes) == 0;
}

/// <summary>A shared mapping of a descriptor.</summary>
internal sealed class SharedPages : SafeHandle
{
    private readonly long _bytes;

    public SharedPages(int descriptor, long bytes, bool writable)
        : base(-1, ownsHandle: true)
    {
        _bytes = bytes;
        int protection = Abi.PROT_READ | (writable ? Abi.PROT_WRITE : 0);
        SetHandle((nint)Libc.Check(
            Libc.syscall(Abi.SYS_mmap, 0, (nint)bytes, protection, Abi.MAP_SHARED, descriptor, 0), "mmap"));
    }

    public nint Address => handle;

    public override bool IsInvalid => handle == -1;

    protected override bool ReleaseHandle() => Libc.syscall(Abi.SYS_munmap, handle, (nint)_bytes) == 0;
}
