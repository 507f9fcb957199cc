using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.Namespaces;

namespace Samepage.Linux.Interception;

/// <summary>
/// A mount namespace of the calling thread's own, which the command keeps after execve: what is mounted here, nobody
/// outside sees, and it goes with the last process inside. Needs CAP_SYS_ADMIN.
/// </summary>
internal static class RunNamespace
{
    private const string Devices = "/dev", DeviceName = "ksm";
    private const int OwnerOnly = 0x180;
    private const int NullDevice = (1 << 8) | 3; // /dev/null: opens, truncates, and does nothing

    /// <summary>Enters a new mount namespace. Mounts made outside still appear inside, but not the other way
    /// round.</summary>
    /// <exception cref="KernelException">Not permitted (EPERM), or no memory.</exception>
    internal static void Enter()
    {
        Libc.Check(Libc.syscall(SYS_unshare, CLONE_NEWNS), "unshare(CLONE_NEWNS)");
        using var root = new NativePath("/");
        Libc.Check(Libc.syscall(SYS_mount, 0, root.Pointer, 0, MS_REC | MS_SLAVE), "mount(MS_SLAVE)");
    }

    /// <summary>
    /// Puts a /dev in place that has everything the old one has, and a placeholder named ksm. A file cannot be made in
    /// the old one: that file system is the host's.
    /// </summary>
    /// <returns>The placeholder.</returns>
    internal static DeviceIdentity AddDevice()
    {
        using SafeFileHandle old = Fcntl.OpenAt(null, Devices, Fcntl.O_PATH | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC);
        using SafeFileHandle context = Mount.FsOpen("tmpfs");
        Libc.Check(Mount.FsConfig(context, Mount.FSCONFIG_SET_STRING, "mode", "755"), "fsconfig(mode)");
        Libc.Check(Mount.FsConfig(context, Mount.FSCONFIG_CMD_CREATE), "fsconfig(create)");
        using SafeFileHandle fresh = Mount.FsMount(context, Mount.MOUNT_ATTR_NOSUID);
        if (old.IsInvalid || fresh.IsInvalid)
        {
            throw new KernelException("mount a tmpfs for /dev", Errno.Last);
        }

        var trees = CloneEntries(old, fresh);
        Move(fresh, null, Devices);
        foreach ((string name, SafeFileHandle tree) in trees)
        {
            using (tree)
            {
                Move(tree, fresh, name);
            }
        }

        using var node = new NativePath(DeviceName);
        int at = (int)fresh.DangerousGetHandle();
        Libc.Check(Libc.syscall(SYS_mknodat, at, node.Pointer, S_IFCHR | OwnerOnly, NullDevice), "mknod");
        Libc.Check(Libc.syscall(SYS_fchmodat, at, node.Pointer, OwnerOnly), "chmod");
        return CallerFacts.Identity($"{Devices}/{DeviceName}")
            ?? throw new KernelException("stat /dev/ksm", Errno.Last);
    }

    // Every entry is bound (with what is mounted below it), so that devices stay the ones they are; links are made
    // anew.
    private static List<(string Name, SafeFileHandle Tree)> CloneEntries(SafeFileHandle old, SafeFileHandle fresh)
    {
        var trees = new List<(string, SafeFileHandle)>();
        int to = (int)fresh.DangerousGetHandle();
        foreach (FileSystemInfo entry in new DirectoryInfo(Devices).EnumerateFileSystemInfos())
        {
            if (entry.Name == DeviceName)
            {
                continue;
            }

            using var name = new NativePath(entry.Name);
            if (entry.LinkTarget is { } target)
            {
                using var text = new NativePath(target);
                _ = Libc.syscall(SYS_symlinkat, text.Pointer, to, name.Pointer);
                continue;
            }

            var tree = new SafeFileHandle(
                (nint)Libc.syscall(
                    SYS_open_tree, old.DangerousGetHandle(), name.Pointer,
                    OPEN_TREE_CLONE | AT_RECURSIVE | Fcntl.O_CLOEXEC),
                ownsHandle: true);
            bool isDirectory = entry.Attributes.HasFlag(FileAttributes.Directory);
            long made = isDirectory
                ? Libc.syscall(SYS_mkdirat, to, name.Pointer, 0x1ed)
                : Libc.syscall(SYS_mknodat, to, name.Pointer, S_IFREG | OwnerOnly);
            if (tree.IsInvalid || made != 0)
            {
                tree.Dispose(); // gone in the meantime
                continue;
            }

            trees.Add((entry.Name, tree));
        }

        return trees;
    }

    private static void Move(SafeFileHandle tree, SafeFileHandle? directory, string path)
    {
        using var empty = new NativePath("");
        using var target = new NativePath(path);
        long result = Libc.syscall(
            SYS_move_mount, tree.DangerousGetHandle(), empty.Pointer,
            directory?.DangerousGetHandle() ?? Fcntl.AT_FDCWD, target.Pointer, MOVE_MOUNT_F_EMPTY_PATH);
        Libc.Check(result, $"move_mount to {path}");
    }

    /// <summary>A path as the kernel wants it.</summary>
    private readonly struct NativePath(string path) : IDisposable
    {
        internal nint Pointer { get; } = System.Runtime.InteropServices.Marshal.StringToCoTaskMemUTF8(path);

        public void Dispose() => System.Runtime.InteropServices.Marshal.FreeCoTaskMem(Pointer);
    }
}
