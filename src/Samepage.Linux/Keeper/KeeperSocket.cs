using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>Unix stream sockets, made by hand.</summary>
internal static class KeeperSocket
{
    private const int AddressBytes = 110;
    private const int PathOffset = 2;
    private const int Backlog = 16;

    /// <summary>struct ucred.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Credentials
    {
        internal int Pid;
        internal uint Uid;
        internal uint Gid;
    }

    /// <summary>A listening socket at <paramref name="path"/>, replacing a stale one; -errno on failure.</summary>
    internal static unsafe int Listen(string path)
    {
        byte* address = stackalloc byte[AddressBytes];
        uint length = Fill(address, path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        // SAFETY: Fill left a zero-terminated path behind the family.
        _ = unlink(address + PathOffset);
        if (bind(fd, address, length) != 0 || chmod(address + PathOffset, 0x180) != 0 || listen(fd, Backlog) != 0)
        {
            int error = LastErrno;
            _ = close(fd);
            return -error;
        }

        return fd;
    }

    /// <summary>A connected blocking socket with time limits, and who listens; -errno on failure.</summary>
    internal static unsafe int Connect(string path, TimeSpan limit, out Credentials server)
    {
        server = default;
        byte* address = stackalloc byte[AddressBytes];
        uint length = Fill(address, path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        long* time = stackalloc long[] { (long)limit.TotalSeconds, limit.Milliseconds * 1000L };
        // SAFETY: struct timeval is two 64-bit words; all arguments outlive the calls.
        _ = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, time, 2 * sizeof(long));
        _ = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, time, 2 * sizeof(long));
        int error;
        do
        {
            error = connect(fd, address, length) == 0 ? 0 : LastErrno;
        }
        while (error == EINTR);

        if (error != 0)
        {
            _ = close(fd);
            return -error;
        }

        server = PeerOf(fd);
        return fd;
    }

    /// <summary>Only our own user and root may command a keeper; the socket's mode says the same.</summary>
    internal static bool PeerMayControl(int fd)
    {
        uint uid = PeerOf(fd).Uid;
        return uid == 0 || uid == geteuid();
    }

    internal static unsafe Credentials PeerOf(int fd)
    {
        Credentials peer = new() { Pid = 0, Uid = uint.MaxValue };
        uint length = (uint)sizeof(Credentials);
        // SAFETY: the kernel writes at most `length` bytes into the struct.
        _ = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
        return peer;
    }

    /// <summary>The file beside the socket that is locked while a keeper comes up and says who serves.</summary>
    internal static string OwnerFile(string path) => path + ".owner";

    /// <summary>
    /// True if a living process serves <paramref name="path"/>. Told by the owner file and not by connecting: the
    /// socket of a killed keeper stays open in its holder, takes connections until its queue is full and then makes
    /// callers wait.
    /// </summary>
    internal static bool IsServed(string path, out int pid)
    {
        string[] words = KeeperFiles.ReadShort(OwnerFile(path)).Split(' ');
        pid = 0;
        return words.Length == 2 && int.TryParse(words[0], CultureInfo.InvariantCulture, out pid)
            && ulong.TryParse(words[1], CultureInfo.InvariantCulture, out ulong start)
            && start != 0 && KeeperFiles.StartTimeOf(pid) == start;
    }

    private static unsafe uint Fill(byte* address, string path)
    {
        int bytes = Encoding.UTF8.GetByteCount(path);
        if (bytes > AddressBytes - PathOffset - 1)
        {
            throw new ArgumentException($"the socket path {path} is longer than {AddressBytes - PathOffset - 1} bytes");
        }

        // SAFETY: AddressBytes bytes, of which family, path and a zero are used.
        var whole = new Span<byte>(address, AddressBytes);
        whole.Clear();
        whole[0] = AF_UNIX;
        Encoding.UTF8.GetBytes(path, whole[PathOffset..]);
        return (uint)(PathOffset + bytes + 1);
    }
}
