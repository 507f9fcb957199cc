using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Proc;

/// <summary>A growing buffer that is read into again and again, so that reading /proc allocates nothing at
/// rest.</summary>
internal sealed class ProcBuffer
{
    private byte[] _bytes = new byte[16 * 1024];

    /// <summary>Most bytes ever read of one file; a longer one counts as unreadable.</summary>
    internal const int BytesMax = 1 << 30;

    /// <summary>What the last read found.</summary>
    internal ReadOnlySpan<byte> Text => _bytes.AsSpan(0, Length);

    /// <summary>Bytes of <see cref="Text"/>.</summary>
    internal int Length { get; private set; }

    /// <summary>Reads a file from its start to its end.</summary>
    /// <returns>0, or the error number.</returns>
    internal int ReadAll(SafeFileHandle file)
    {
        Length = 0;
        while (true)
        {
            if (Length == _bytes.Length)
            {
                if (Length >= BytesMax)
                {
                    Length = 0;
                    return Errno.ENOSPC;
                }

                Array.Resize(ref _bytes, _bytes.Length * 2);
            }

            nint n = Fcntl.Read(file, _bytes.AsSpan(Length), Length);
            if (n < 0)
            {
                Length = 0;
                return Errno.Last;
            }

            if (n == 0)
            {
                return 0;
            }

            Length += (int)n;
        }
    }
}

/// <summary>
/// Reads /proc/PID through one descriptor of the directory. The kernel ties that descriptor to the process, not to
/// its number: once the process is gone every read fails, even if the number belongs to somebody else by then.
/// </summary>
internal sealed class ProcReader : IDisposable
{
    private readonly SafeFileHandle _directory;

    private ProcReader(int pid, SafeFileHandle directory)
    {
        Pid = pid;
        _directory = directory;
    }

    /// <summary>Process id.</summary>
    internal int Pid { get; }

    /// <summary>Opens the directory.</summary>
    /// <returns>Null when there is no such process.</returns>
    internal static ProcReader? TryOpen(int pid)
    {
        if (pid <= 0)
        {
            return null;
        }

        SafeFileHandle directory = Fcntl.OpenAt(
            null, $"/proc/{pid}", Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC);
        if (directory.IsInvalid)
        {
            directory.Dispose();
            return null;
        }

        return new ProcReader(pid, directory);
    }

    /// <summary>Opens a file below /proc/PID; invalid on failure, <paramref name="errno"/> says why.</summary>
    internal SafeFileHandle Open(string name, out int errno, int flags = Fcntl.O_RDONLY)
    {
        SafeFileHandle file = Fcntl.OpenAt(_directory, name, flags | Fcntl.O_CLOEXEC);
        errno = file.IsInvalid ? Errno.Last : 0;
        return file;
    }

    /// <summary>Reads a whole file below /proc/PID.</summary>
    /// <returns>0, or the error number (ESRCH and ENOENT: the process is gone).</returns>
    internal int Read(string name, ProcBuffer buffer)
    {
        using SafeFileHandle file = Open(name, out int errno);
        return file.IsInvalid ? errno : buffer.ReadAll(file);
    }

    /// <summary>Reads and parses status.</summary>
    internal bool TryReadStatus(ProcBuffer buffer, out ProcessStatus status)
    {
        status = default;
        return Read("status", buffer) == 0 && ProcessStatus.TryParse(buffer.Text, out status);
    }

    /// <summary>Reads and parses stat.</summary>
    internal bool TryReadStat(ProcBuffer buffer, out ProcessStat stat)
    {
        stat = default;
        return Read("stat", buffer) == 0 && ProcessStat.TryParse(buffer.Text, out stat);
    }

    /// <summary>Reads and parses statm.</summary>
    internal bool TryReadStatm(ProcBuffer buffer, out ProcessStatm statm)
    {
        statm = default;
        return Read("statm", buffer) == 0 && ProcessStatm.TryParse(buffer.Text, out statm);
    }

    /// <summary>Short name of the process, empty when it is gone.</summary>
    internal string ReadName(ProcBuffer buffer) =>
        Read("comm", buffer) == 0 ? System.Text.Encoding.UTF8.GetString(buffer.Text.TrimEnd((byte)'\n')) : "";

    /// <summary>Thread ids. Threads may come and go while it is read.</summary>
    /// <returns>False when the process is gone.</returns>
    internal bool TryReadThreads(List<int> threads)
    {
        threads.Clear();
        using SafeFileHandle task = Open("task", out _, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY);
        return !task.IsInvalid && DirectoryEntries.ReadNumbers(task, threads) && threads.Count > 0;
    }

    /// <summary>Open descriptor numbers of the process.</summary>
    /// <returns>0, or the error number.</returns>
    internal int ReadDescriptors(List<int> descriptors)
    {
        descriptors.Clear();
        using SafeFileHandle fd = Open("fd", out int errno, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY);
        return fd.IsInvalid ? errno : DirectoryEntries.ReadNumbers(fd, descriptors) ? 0 : Errno.Last;
    }

    /// <summary>Where a link below /proc/PID points; null when it cannot be read.</summary>
    internal string? ReadLink(string name) => DirectoryEntries.ReadLink(_directory, name);

    public void Dispose() => _directory.Dispose();
}
