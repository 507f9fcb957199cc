using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>Which kind of event an epoll entry stands for: kind in the high half, index in the low.</summary>
internal static class KeeperTag
{
    internal const uint Memory = 1, Listener = 2, Connection = 3, Daemon = 4, Holder = 5;

    internal static ulong Make(uint kind, int index) => ((ulong)kind << 32) | (uint)index;

    internal static uint KindOf(ulong tag) => (uint)(tag >> 32);

    internal static int IndexOf(ulong tag) => (int)(uint)tag;
}

/// <summary>One line per event on stderr; the keeper has no logger because it has nobody to log to but a
/// file.</summary>
internal static class KeeperLog
{
    internal static void Write(string text) => _ = KeeperFiles.WriteAll(StandardError, Encoding.UTF8.GetBytes(
        $"{DateTime.UtcNow:yyyy-MM-ddTHH:mm:ss.fffZ} keeper {Environment.ProcessId}: {text}\n"));

    private const int StandardError = 2;
}

/// <summary>Questions about descriptors and processes.</summary>
internal static class KeeperFiles
{
    internal const string UserfaultfdLink = "anon_inode:[userfaultfd]";
    internal const string ListenerLink = "anon_inode:seccomp notify";

    // Large enough for struct stat of any architecture; device and inode come first in all 64-bit ones.
    private const int StatBytes = 256;
    private const int ModeOffset = 24;
    private const uint S_IFMT = 0xF000, S_IFREG = 0x8000;

    internal static unsafe FileIdentity IdentityOf(int fd)
    {
        ulong* status = stackalloc ulong[StatBytes / sizeof(ulong)];
        // SAFETY: the buffer is larger than struct stat.
        return fstat(fd, status) == 0 ? new FileIdentity(status[0], status[1]) : default;
    }

    internal static unsafe FileIdentity IdentityOf(string path)
    {
        ulong* status = stackalloc ulong[StatBytes / sizeof(ulong)];
        fixed (byte* name = ZeroTerminated(path))
        {
            // SAFETY: a zero-terminated path, and a buffer larger than struct stat.
            return stat(name, status) == 0 ? new FileIdentity(status[0], status[1]) : default;
        }
    }

    internal static unsafe bool IsRegularFile(int fd)
    {
        byte* status = stackalloc byte[StatBytes];
        // SAFETY: as above; st_mode is the 32-bit word at ModeOffset on x86-64.
        return fstat(fd, status) == 0 && (*(uint*)(status + ModeOffset) & S_IFMT) == S_IFREG;
    }

    /// <summary>What a descriptor is, as /proc shows it; empty if it is not open.</summary>
    internal static string LinkOf(int fd) =>
        ReadLink(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{fd}"));

    internal static unsafe string ReadLink(string path)
    {
        const int Most = 256;
        byte* target = stackalloc byte[Most];
        fixed (byte* name = ZeroTerminated(path))
        {
            // SAFETY: readlink writes at most Most bytes and returns how many.
            nint length = readlink(name, target, Most);
            return length <= 0 ? "" : Encoding.UTF8.GetString(target, (int)length);
        }
    }

    /// <summary>Start time in clock ticks since boot (field 22 of /proc/PID/stat), 0 if no such process
    /// lives.</summary>
    internal static ulong StartTimeOf(int pid)
    {
        try
        {
            string text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat"));
            // The name in parentheses may contain anything, so count from the last one.
            string[] fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? 0 : ulong.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException
            or IndexOutOfRangeException)
        {
            return 0;
        }
    }

    /// <summary>A file of less than 256 bytes; empty if it cannot be read. Unlike System.IO it takes no lock on the
    /// file, with which it would refuse one that somebody has locked.</summary>
    internal static unsafe string ReadShort(string path)
    {
        const int Most = 256;
        byte* text = stackalloc byte[Most];
        fixed (byte* name = ZeroTerminated(path))
        {
            int fd = open(name, O_CLOEXEC, 0);
            // SAFETY: pread writes at most Most bytes and returns how many.
            nint length = fd < 0 ? -1 : pread(fd, text, Most, 0);
            _ = fd >= 0 ? close(fd) : 0;
            return length <= 0 ? "" : Encoding.UTF8.GetString(text, (int)length);
        }
    }

    internal static byte[] ZeroTerminated(string text)
    {
        byte[] bytes = new byte[Encoding.UTF8.GetByteCount(text) + 1];
        Encoding.UTF8.GetBytes(text, bytes);
        return bytes;
    }

    /// <summary>Writes all of it; false on any error.</summary>
    internal static unsafe bool WriteAll(int fd, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            for (int done = 0; done < bytes.Length;)
            {
                // SAFETY: start + done .. Length lies in the pinned span.
                nint written = write(fd, start + done, (nuint)(bytes.Length - done));
                if (written <= 0 && LastErrno != EINTR)
                {
                    return false;
                }

                done += Math.Max((int)written, 0);
            }
        }

        return true;
    }

    /// <summary>A close-on-exec duplicate of a descriptor of another process, or -errno.</summary>
    internal static int Fetch(int pid, int fd)
    {
        int process = PidfdOpen(pid);
        if (process < 0)
        {
            return process;
        }

        int own = PidfdGetfd(process, fd);
        _ = close(process);
        return own;
    }
}
