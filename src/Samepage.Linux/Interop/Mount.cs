using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Samepage.Linux.Interop;

/// <summary>linux/mount.h and sys/stat.h: making a private tmpfs and identifying files.</summary>
internal static unsafe partial class Mount
{
    internal const long SYS_fsopen = 430;
    internal const long SYS_fsconfig = 431;
    internal const long SYS_fsmount = 432;
    internal const int FSOPEN_CLOEXEC = 1;
    internal const int FSMOUNT_CLOEXEC = 1;
    internal const int FSCONFIG_SET_FLAG = 0;
    internal const int FSCONFIG_SET_STRING = 1;
    internal const int FSCONFIG_CMD_CREATE = 6;
    internal const int MOUNT_ATTR_NOSUID = 2;
    internal const int MOUNT_ATTR_NODEV = 4;
    internal const uint STATX_BASIC_STATS = 0x7ff;
    internal const long TMPFS_MAGIC = 0x01021994;

    [StructLayout(LayoutKind.Explicit, Size = 256)]
    internal struct statx
    {
        [FieldOffset(16)] internal uint stx_nlink;
        [FieldOffset(20)] internal uint stx_uid;
        [FieldOffset(28)] internal ushort stx_mode;
        [FieldOffset(32)] internal ulong stx_ino;
        [FieldOffset(40)] internal ulong stx_size;
        [FieldOffset(48)] internal ulong stx_blocks;
        [FieldOffset(136)] internal uint stx_dev_major;
        [FieldOffset(140)] internal uint stx_dev_minor;
    }

    [StructLayout(LayoutKind.Explicit, Size = 120)]
    internal struct statfs
    {
        [FieldOffset(0)] internal long f_type;
    }

    /// <summary>Starts making a file system; the handle is invalid on failure.</summary>
    internal static SafeFileHandle FsOpen(string type)
    {
        // SAFETY: the name is a terminated copy that lives until the call is back.
        using Utf8Argument name = new(type);
        return new SafeFileHandle((nint)Libc.syscall(SYS_fsopen, name.Pointer, FSOPEN_CLOEXEC), ownsHandle: true);
    }

    /// <summary>One fsconfig step; 0 or -1.</summary>
    internal static long FsConfig(SafeFileHandle context, int command, string? key = null, string? value = null)
    {
        using Utf8Argument keyText = new(key);
        using Utf8Argument valueText = new(value);
        return Libc.syscall(
            SYS_fsconfig, context.DangerousGetHandle(), command, keyText.Pointer, valueText.Pointer, 0);
    }

    /// <summary>Mounts what <see cref="FsOpen"/> prepared, attached nowhere; the handle is invalid on
    /// failure.</summary>
    internal static SafeFileHandle FsMount(SafeFileHandle context, int attributes) =>
        new(
            (nint)Libc.syscall(SYS_fsmount, context.DangerousGetHandle(), FSMOUNT_CLOEXEC, attributes),
            ownsHandle: true);

    /// <summary>statx of an open descriptor.</summary>
    internal static bool TryStat(SafeFileHandle file, out statx result)
    {
        // SAFETY: both structures have the size the kernel writes (256 bytes); the empty path is a constant.
        fixed (statx* p = &result)
        fixed (byte* empty = "\0"u8)
        {
            return statx_(file, empty, Fcntl.AT_EMPTY_PATH, STATX_BASIC_STATS, p) == 0;
        }
    }

    /// <summary>Type of the file system a descriptor is on; 0 if the kernel does not say.</summary>
    internal static long FileSystemType(SafeFileHandle file)
    {
        statfs result;
        // SAFETY: the structure has the size of struct statfs on x86-64.
        return fstatfs(file, &result) == 0 ? result.f_type : 0;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    private static partial int statx_(SafeFileHandle fd, byte* path, int flags, uint mask, statx* result);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fstatfs(SafeFileHandle fd, statfs* result);

    /// <summary>A string as the kernel wants it, for as long as it is not disposed.</summary>
    private readonly ref struct Utf8Argument(string? text)
    {
        internal nint Pointer { get; } = Marshal.StringToCoTaskMemUTF8(text);

        public void Dispose() => Marshal.FreeCoTaskMem(Pointer);
    }
}
