using System.Runtime.InteropServices;
using System.Text;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>
/// The keeper: a small process that answers page faults of merged memory with zeros, outlives the daemon, and starts a
/// new one. It owns nothing that is lost with it: targets keep their userfaultfd open too, and everything else lives in
/// a descriptor table that it shares with a holder (<see cref="DescriptorHolder"/>).
/// </summary>
public static class KeeperProcess
{
    /// <summary>Exit code when another keeper serves this path already.</summary>
    public const int AlreadyServed = 6;

    private const ulong DescriptorsMax = 1 << 20;

    /// <summary>Runs until there is nothing to keep; the process should do nothing else.</summary>
    /// <returns>0, or <see cref="AlreadyServed"/>.</returns>
    /// <exception cref="IOException">The socket cannot be made.</exception>
    public static int Run(KeeperOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        RaiseDescriptorLimit(DescriptorsMax);
        KeeperPriority.Raise();
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        int listener = ListenAlone(options.SocketPath);
        if (listener < 0)
        {
            return AlreadyServed;
        }

        using var server = new KeeperServer(options, epoll, listener);
        // A keeper that goes while threads wait at faults would leave them waiting. So it ends only when it is not
        // needed.
        void Stay(PosixSignalContext context)
        {
            context.Cancel = true;
            if (context.Signal == PosixSignal.SIGTERM)
            {
                server.RequestEnd();
            }
        }

        using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stay);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stay);
        using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, Stay);
        using var quit = PosixSignalRegistration.Create(PosixSignal.SIGQUIT, Stay);
        server.Run();
        Withdraw(options.SocketPath);
        return 0;
    }

    // Nothing is to be left on the host. A keeper that comes up just now has the lock: then the files are its own.
    private static void Withdraw(string path)
    {
        try
        {
            string ownerFile = KeeperSocket.OwnerFile(path);
            using var locked = new FileStream(ownerFile, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            using var text = new StreamReader(locked, leaveOpen: true);
            string self = FormattableString.Invariant($"{Environment.ProcessId} ");
            if (text.ReadToEnd().StartsWith(self, StringComparison.Ordinal))
            {
                File.Delete(path);
                File.Delete(ownerFile);
            }
        }
        catch (IOException)
        {
            // Locked, or gone already.
        }
    }

    // The lock covers only look and bind. It must be gone before the holder exists, which would keep it for ever.
    private static unsafe int ListenAlone(string path)
    {
        int lockFile;
        fixed (byte* name = KeeperFiles.ZeroTerminated(KeeperSocket.OwnerFile(path)))
        {
            // SAFETY: a zero-terminated path.
            lockFile = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0x180);
        }

        if (lockFile < 0)
        {
            throw new IOException(
                $"cannot create {KeeperSocket.OwnerFile(path)} (errno {LastErrno}); choose another --socket");
        }

        try
        {
            _ = flock(lockFile, LOCK_EX);
            if (!File.Exists(KeeperSocket.OwnerFile(path)))
            {
                return ListenAlone(path); // the keeper before has just taken it away (Withdraw): lock the new one
            }

            if (KeeperSocket.IsServed(path, out int pid))
            {
                KeeperLog.Write($"keeper {pid} serves {path} already");
                return -1;
            }

            int listener = KeeperSocket.Listen(path);
            if (listener < 0)
            {
                throw new IOException($"cannot listen at {path} (errno {-listener}); choose another --socket");
            }

            int self = Environment.ProcessId;
            _ = ftruncate(lockFile, 0);
            _ = KeeperFiles.WriteAll(lockFile,
                Encoding.ASCII.GetBytes(FormattableString.Invariant($"{self} {KeeperFiles.StartTimeOf(self)}")));
            return listener;
        }
        finally
        {
            _ = close(lockFile);
        }
    }
}
