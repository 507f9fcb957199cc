using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Samepage.Linux.Interop;

/// <summary>sys/ioctl.h.</summary>
internal static unsafe partial class Ioctl
{
    [LibraryImport("libc", SetLastError = true)]
    internal static partial int ioctl(SafeFileHandle fd, nuint request, void* argument);
}
