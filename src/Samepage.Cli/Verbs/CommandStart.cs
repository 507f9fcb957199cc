using Microsoft.Win32.SafeHandles;
using Samepage.Cli.Client;
using Samepage.Daemon;
using Samepage.Daemon.Api;
using Samepage.Linux.Fuse;
using Samepage.Linux.Interception;
using Samepage.Linux.Interop;

namespace Samepage.Cli.Verbs;

/// <summary>What <c>samepage run</c> was asked for.</summary>
/// <param name="Domain">Trust domain; null for each user's own.</param>
/// <param name="All">Everything is merged, asked for or not.</param>
/// <param name="Device">The command gets a /dev/ksm.</param>
/// <param name="View">The command gets these files at /sys/kernel/mm/ksm; null for none.</param>
internal sealed record Wishes(string? Domain, bool All, bool Device, string? View);

/// <summary>Everything between the daemon's answer and the execve. Whatever fails here, the command does not start.
/// </summary>
internal static class CommandStart
{
    private const string AdminFiles = "/sys/kernel/mm/ksm";

    /// <summary>Puts mounts and filter in place and has the daemon answer.</summary>
    /// <returns>The listener, which has to stay open until the execve; null in a nested run.</returns>
    internal static SafeFileHandle? Prepare(DaemonClient client, Wishes wishes)
    {
        if (wishes.All && !wishes.Device && wishes.View is null)
        {
            // Needs no filter: the daemon attaches it when this connection closes.
            client.Attach(new AttachBody
            {
                Pid = Environment.ProcessId,
                Domain = wishes.Domain,
                FollowChildren = true,
                AfterExec = true,
            });
            return null;
        }

        var device = MakeMounts(client, wishes);
        var listener = RunFilter.Install(wishes.Device, out var errno);
        if (listener is null && errno != Errno.EBUSY)
        {
            throw new RequestException(
                errno == Errno.EINVAL ? ExitCode.HostNotSupported : ExitCode.Failed,
                $"no system call filter could be installed: {Errno.Text(errno)} (Linux 5.19 with "
                + "CONFIG_SECCOMP_FILTER is needed)");
        }

        client.AddRun(new RunBody
        {
            Pid = Environment.ProcessId,
            Fd = listener is null ? null : (int)listener.DangerousGetHandle(),
            Domain = wishes.Domain,
            WholeProcess = wishes.All,
            Device = device is { } file ? new FileBody { Device = file.Device, Inode = file.Inode } : null,
        });
        return listener;
    }

    private static DeviceIdentity? MakeMounts(DaemonClient client, Wishes wishes)
    {
        if (!wishes.Device && wishes.View is null)
        {
            return null;
        }

        try
        {
            RunNamespace.Enter();
            MountView(client, wishes.View);
            return wishes.Device ? RunNamespace.AddDevice() : null;
        }
        catch (KernelException error) when (error.Errno is Errno.EPERM or Errno.EACCES)
        {
            throw new RequestException(
                ExitCode.NotPermitted,
                "--dev-ksm and --admin-view need a mount namespace: run samepage as root",
                error);
        }
    }

    private static void MountView(DaemonClient client, string? view)
    {
        if (view is null)
        {
            return;
        }

        if (!Directory.Exists(AdminFiles))
        {
            throw new RequestException(
                ExitCode.HostNotSupported, $"there is no {AdminFiles} to mount the files at: this kernel has no KSM");
        }

        // The daemon duplicates the descriptor; ours is closed by the execve.
        using var device = FuseMount.MountAt(AdminFiles, view + "@samepage-run");
        client.Serve(new MountBody
        {
            View = view,
            Pid = Environment.ProcessId,
            Fd = (int)device.DangerousGetHandle(),
        });
    }
}
