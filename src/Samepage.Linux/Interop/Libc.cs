using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

[assembly: DisableRuntimeMarshalling]
[assembly: SupportedOSPlatform("linux")]

namespace Samepage.Linux.Interop;

/// <summary>Entry points of the C library. Everything without a wrapper of its own goes through <see cref="syscall"/>.</summary>
internal static unsafe partial class Libc
{
    [LibraryImport("libc", SetLastError = true)]
    internal static partial long syscall(long number, nint a0 = 0, nint a1 = 0, nint a2 = 0, nint a3 = 0, nint a4 = 0, nint a5 = 0);

    /// <summary>Effective user id of this process.</summary>
    internal static uint EffectiveUid => geteuid();

    [LibraryImport("libc")]
    private static partial uint geteuid();
}
