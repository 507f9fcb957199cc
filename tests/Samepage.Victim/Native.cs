using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

[assembly: DisableRuntimeMarshalling]
[assembly: SupportedOSPlatform("linux")]

namespace Samepage.Victims;

/// <summary>The C library's functions a victim needs, spelled as there.</summary>
internal static partial class Native
{
    internal const int PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2;
    internal const int MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_FIXED_NOREPLACE = 0x100000;
    internal const int MADV_DONTNEED = 4;
    internal const int O_CLOEXEC = 0x80000;

    internal static readonly nint MAP_FAILED = -1;

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint mmap(nint address, nint bytes, int protection, int flags, int fd, nint offset);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int munmap(nint address, nint bytes);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int mprotect(nint address, nint bytes, int protection);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int madvise(nint address, nint bytes, int advice);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint pread(int fd, nint buffer, nint bytes, nint offset);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint read(int fd, nint buffer, nint bytes);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint write(int fd, nint buffer, nint bytes);

    [LibraryImport("libc", SetLastError = true)]
    internal static unsafe partial int pipe2(int* ends, int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static unsafe partial nint process_vm_writev(
        int pid, IoVector* local, nuint localCount, IoVector* remote, nuint remoteCount, nuint flags);

    /// <summary>struct iovec.</summary>
    internal struct IoVector
    {
        internal nint Base;
        internal nuint Bytes;
    }

    internal static InvalidOperationException Failed(string call) =>
        new($"{call} failed: {Marshal.GetLastPInvokeErrorMessage()}");
}
