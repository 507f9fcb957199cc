using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Host;

/// <summary>
/// Standard output and error without System.Console, whose start-up (encodings, terminal, SIGCHLD) is a fifth of the
/// time <c>samepage status</c> may take.
/// </summary>
internal static class StandardStreams
{
    internal const int Output = 1;
    internal const int Error = 2;

    /// <summary>Writes all bytes; false when nobody reads them any more (closed pipe, full disk).</summary>
    internal static unsafe bool Write(int fd, ReadOnlySpan<byte> bytes)
    {
        // SAFETY: the span is pinned while the kernel reads it and its length is passed with it.
        fixed (byte* start = bytes)
        {
            var written = 0;
            while (written < bytes.Length)
            {
                var now = Libc.syscall(HostCalls.SYS_write, fd, (nint)(start + written), bytes.Length - written);
                if (now < 0 && Marshal.GetLastPInvokeError() != Errno.EINTR)
                {
                    return false;
                }

                written += (int)Math.Max(now, 0);
            }
        }

        return true;
    }

    /// <summary>Writes text as UTF-8 with a line feed.</summary>
    internal static bool WriteLine(int fd, string text) => Write(fd, Encoding.UTF8.GetBytes(text + "\n"));

    /// <summary>
    /// Points standard error elsewhere for good: a daemon that a verb started lets go of the verb's pipe this way, and
    /// the verb takes the end of that pipe as "it is ready".
    /// </summary>
    /// <remarks>System.Console keeps duplicates of its own, which would keep the pipe open: they go, too.</remarks>
    /// <param name="path">File to append to; /dev/null by default.</param>
    internal static void RedirectError(string? path)
    {
        using var file = new FileStream(path ?? "/dev/null", FileMode.Append, FileAccess.Write, FileShare.ReadWrite);
        var replacement = (nint)file.SafeFileHandle.DangerousGetHandle();
        var old = Target("/proc/self/fd/2");
        foreach (var descriptor in Directory.GetFiles("/proc/self/fd"))
        {
            var number = int.Parse(Path.GetFileName(descriptor.AsSpan()), CultureInfo.InvariantCulture);
            var isPipe = old?.StartsWith("pipe:", StringComparison.Ordinal) == true;
            if (number != Error && isPipe && Target(descriptor) == old)
            {
                Libc.syscall(HostCalls.SYS_dup3, replacement, number, HostCalls.O_CLOEXEC);
            }
        }

        Libc.syscall(HostCalls.SYS_dup2, replacement, Error);
    }

    private static string? Target(string link)
    {
        try
        {
            return new FileInfo(link).LinkTarget;
        }
        catch (IOException)
        {
            return null; // closed meanwhile
        }
    }
}
