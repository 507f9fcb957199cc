using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using FuseAbi = Samepage.Linux.Interop.Fuse;

namespace Samepage.Linux.Fuse;

/// <summary>Mounting and unmounting in the caller's mount namespace. Needs CAP_SYS_ADMIN.</summary>
public static class FuseMount
{
    /// <summary>The file system type that /proc/mounts shows.</summary>
    public const string Type = "fuse.samepage";

    // The kernel checks modes as on any file system, and every user may come, as on sysfs.
    private const string Everybody = "allow_other,default_permissions";

    /// <summary>
    /// Mounts over a directory and returns the descriptor of /dev/fuse behind it, close-on-exec. Whoever uses the mount
    /// waits until somebody serves the descriptor (<see cref="FuseSession"/>, here or in a process it is passed to);
    /// when its last copy is closed, users get ENOTCONN.
    /// </summary>
    /// <param name="path">An existing directory.</param>
    /// <param name="source">What /proc/mounts shows as the device.</param>
    /// <exception cref="KernelException">It could not be mounted.</exception>
    public static SafeFileHandle MountAt(string path, string source)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(source);
        var device = Fcntl.OpenAt(null, "/dev/fuse", Fcntl.O_RDWR | Fcntl.O_CLOEXEC | Fcntl.O_NONBLOCK);
        if (device.IsInvalid)
        {
            throw new KernelException("open /dev/fuse", Errno.Last);
        }

        var options = string.Create(
            CultureInfo.InvariantCulture,
            $"fd={(int)device.DangerousGetHandle()},rootmode=40755,user_id=0,group_id=0,{Everybody}");
        const uint flags = FuseAbi.MS_NOSUID | FuseAbi.MS_NODEV | FuseAbi.MS_NOEXEC | FuseAbi.MS_RELATIME;
        if (Mount(source, path, Type, flags, options) != 0)
        {
            var errno = Errno.Last;
            device.Dispose();
            throw new KernelException($"mount {path}", errno);
        }

        return device;
    }

    /// <summary>Takes the topmost mount off a directory.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="lazily">True: at once, and for those who still use it when they end.</param>
    /// <returns>0 or an error number: 16 (EBUSY) when it is in use.</returns>
    public static int Unmount(string path, bool lazily)
    {
        ArgumentNullException.ThrowIfNull(path);
        var text = Marshal.StringToCoTaskMemUTF8(path);
        try
        {
            var flags = FuseAbi.UMOUNT_NOFOLLOW | (lazily ? FuseAbi.MNT_DETACH : 0);
            return Libc.syscall(FuseAbi.SYS_umount2, text, flags) == 0 ? 0 : Errno.Last;
        }
        finally
        {
            Marshal.FreeCoTaskMem(text);
        }
    }

    /// <summary>A directory without symbolic links in it, as /proc/self/mountinfo names it; unchanged when there is
    /// none. Asks nothing of a mount that lies there.</summary>
    public static string RealPath(string path)
    {
        using var directory = Fcntl.OpenAt(null, path, Fcntl.O_PATH | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC);
        return directory.IsInvalid
            ? path
            : new FileInfo($"/proc/self/fd/{(int)directory.DangerousGetHandle()}").LinkTarget ?? path;
    }

    /// <summary>The mounts of our type in this process's mount namespace, oldest first.</summary>
    public static IReadOnlyList<FuseMountEntry> List() => Parse(File.ReadAllText("/proc/self/mountinfo"));

    /// <summary>Reads the text of /proc/PID/mountinfo (proc(5)): number, parent, major:minor, root, mount point,
    /// options, optional fields, a hyphen, type, source, options.</summary>
    internal static IReadOnlyList<FuseMountEntry> Parse(string mountinfo)
    {
        var found = new List<FuseMountEntry>();
        foreach (var line in mountinfo.Split('\n'))
        {
            var fields = line.Split(' ');
            var hyphen = Array.IndexOf(fields, "-");
            if (hyphen >= 6 && fields.Length > hyphen + 2 && fields[hyphen + 1] == Type)
            {
                found.Add(new FuseMountEntry(
                    Unescape(fields[4]), Unescape(fields[hyphen + 2]), fields[2]));
            }
        }

        return found;
    }

    /// <summary>The kernel writes blanks, newlines and backslashes as three octal digits.</summary>
    private static string Unescape(string text)
    {
        var bytes = new List<byte>();
        var raw = Encoding.UTF8.GetBytes(text);
        for (var i = 0; i < raw.Length; i++)
        {
            if (raw[i] == '\\' && i + 3 < raw.Length
                && raw.AsSpan(i + 1, 3).IndexOfAnyExceptInRange((byte)'0', (byte)'7') < 0)
            {
                bytes.Add((byte)(((raw[i + 1] - '0') << 6) | ((raw[i + 2] - '0') << 3) | (raw[i + 3] - '0')));
                i += 3;
            }
            else
            {
                bytes.Add(raw[i]);
            }
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }

    private static long Mount(string source, string path, string type, uint flags, string options)
    {
        nint[] texts = [.. new[] { source, path, type, options }.Select(Marshal.StringToCoTaskMemUTF8)];
        try
        {
            return Libc.syscall(FuseAbi.SYS_mount, texts[0], texts[1], texts[2], (nint)flags, texts[3]);
        }
        finally
        {
            Array.ForEach(texts, Marshal.FreeCoTaskMem);
        }
    }
}

/// <summary>One mount of ours.</summary>
/// <param name="Path">Where.</param>
/// <param name="Source">What it was mounted with as its source.</param>
/// <param name="Device">"major:minor" of the file system: different for each mount that was ever made, while it exists.
/// </param>
public sealed record FuseMountEntry(string Path, string Source, string Device);
