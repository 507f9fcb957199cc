using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

[assembly: DisableRuntimeMarshalling]
[assembly: SupportedOSPlatform("linux")]

namespace Samepage.Linux.Interop;

/// <summary>Entry points of the C library. Everything without a wrapper of its own goes through
/// <see cref="syscall"/>.</summary>
internal static unsafe partial class Libc
{
    [LibraryImport("libc", SetLastError = true)]
    internal static partial long syscall(
        long number, nint a0 = 0, nint a1 = 0, nint a2 = 0, nint a3 = 0, nint a4 = 0, nint a5 = 0);

    /// <summary>Effective user id of this process.</summary>
    internal static uint EffectiveUid => geteuid();

    /// <summary>The result, or an exception that names the operation and the errno when it is -1.</summary>
    /// <exception cref="KernelException">The call failed.</exception>
    internal static long Check(long result, string operation) =>
        result == -1 ? throw new KernelException(operation, Marshal.GetLastPInvokeError()) : result;

    [LibraryImport("libc")]
    private static partial uint geteuid();
}

/// <summary>A system call failed in a way nobody expected.</summary>
public sealed class KernelException(string operation, int errno)
    : IOException($"{operation}: {Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})")
{
    /// <summary>The failed operation.</summary>
    public string Operation { get; } = operation;

    /// <summary>The kernel's error number.</summary>
    public int Errno { get; } = errno;
}
