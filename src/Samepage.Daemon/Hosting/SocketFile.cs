using System.Net.Sockets;
using System.Text;

namespace Samepage.Daemon.Hosting;

/// <summary>
/// The socket in the file system, and the right to it. One daemon per path: a lock file beside the socket, held by the
/// kernel for as long as the daemon lives, tells a living daemon from the socket of a dead one. The socket is made in a
/// directory nobody else can enter and moved to its place with its mode set, so that at no instant anybody but the
/// owner can connect.
/// </summary>
internal sealed class SocketFile : IDisposable
{
    // sockaddr_un has 107; the socket is born in a directory whose name is longer by a dot, a pid and "/s".
    private const int PathBytesMax = 107 - 10;
    /// <summary>Begins the refusal of a second daemon; the verb that started it then waits for the first.</summary>
    internal const string AlreadyRuns = "a daemon runs already";

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly string path;
    private readonly string lockPath;
    private readonly FileStream held;
    private bool bound;

    private SocketFile(string path, string lockPath, FileStream held)
    {
        this.path = path;
        this.lockPath = lockPath;
        this.held = held;
    }

    /// <summary>Takes the path for this process.</summary>
    /// <exception cref="RequestException">A living daemon has it, or it cannot be used.</exception>
    internal static SocketFile Claim(string path)
    {
        path = Path.GetFullPath(path);
        if (Encoding.UTF8.GetByteCount(path) > PathBytesMax)
        {
            throw new RequestException(ExitCode.Usage, $"the socket path {path} is longer than {PathBytesMax} bytes");
        }

        if (!Directory.Exists(Path.GetDirectoryName(path)))
        {
            throw new RequestException(ExitCode.Usage, $"the directory of the socket {path} does not exist: create it");
        }

        if (File.Exists(path) && !IsSocket(path))
        {
            throw new RequestException(
                ExitCode.Usage, $"{path} is there and is no socket: choose another with --socket");
        }

        return Lock(path, path + ".lock");
    }

    /// <summary>A bound socket, not listening yet, that is at its place with mode 0600.</summary>
    internal Socket Bind()
    {
        var folder = $"{path}.{Environment.ProcessId}";
        Directory.CreateDirectory(folder, OwnerOnly | UnixFileMode.UserExecute);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            var born = Path.Combine(folder, "s");
            socket.Bind(new UnixDomainSocketEndPoint(born));
            File.SetUnixFileMode(born, OwnerOnly);
            File.Move(born, path, overwrite: true);
            bound = true;
            return socket;
        }
        catch (Exception error) when (error is IOException or SocketException or UnauthorizedAccessException)
        {
            socket.Dispose();
            throw new RequestException(ExitCode.Failed, $"the socket {path} cannot be made: {error.Message}", error);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    public void Dispose()
    {
        if (bound)
        {
            File.Delete(path);
        }

        // Removed while it is held: whoever opened it before finds that out by looking again (Lock).
        File.Delete(lockPath);
        held.Dispose();
    }

    private static SocketFile Lock(string path, string lockPath)
    {
        const int attempts = 10;
        for (var i = 0; i < attempts; i++)
        {
            try
            {
                // FileShare.None is flock(LOCK_EX | LOCK_NB): gone with the process, however it ends.
                var held = new FileStream(lockPath, new FileStreamOptions
                {
                    Mode = FileMode.OpenOrCreate,
                    Access = FileAccess.ReadWrite,
                    Share = FileShare.None,
                    UnixCreateMode = OwnerOnly,
                });
                if (File.Exists(lockPath))
                {
                    return new SocketFile(path, lockPath, held);
                }

                held.Dispose();
            }
            catch (UnauthorizedAccessException error)
            {
                throw new RequestException(
                    ExitCode.NotPermitted, $"{lockPath} may not be written: be root, or choose --socket PATH", error);
            }
            catch (IOException error)
            {
                throw new RequestException(
                    ExitCode.Failed, $"{AlreadyRuns} at {path}: use it, or choose --socket PATH", error);
            }
        }

        throw new RequestException(ExitCode.Failed, $"the lock {lockPath} comes and goes: is a daemon starting there?");
    }

    private static bool IsSocket(string path)
    {
        try
        {
            using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException error)
        {
            // ECONNREFUSED is what a socket without a listener answers - and also what a plain file does: a file has
            // a length or can be opened, a socket can not (ENXIO).
            return error.SocketErrorCode == SocketError.ConnectionRefused && !CanOpen(path);
        }
    }

    private static bool CanOpen(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
