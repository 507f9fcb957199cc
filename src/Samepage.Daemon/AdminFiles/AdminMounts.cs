using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Samepage.Daemon.Api;
using Samepage.Daemon.Loop;
using Samepage.Linux.Fuse;
using Samepage.Linux.Interop;

namespace Samepage.Daemon.AdminFiles;

/// <summary>
/// The mounts this daemon serves: those it made at a path, and those made by a process in a mount namespace of its own,
/// which handed its descriptor over. A graceful end unmounts the former. A daemon that starts finds the mounts of its
/// dead predecessor by their source, which names the socket, and makes them anew at the same place.
/// </summary>
internal sealed class AdminMounts(string socket, EngineLoop loop, SnapshotBoard board, ILogger log) : IDisposable
{
    /// <summary>Most mounts at a time.</summary>
    internal const int CountMax = 256;

    private readonly Lock gate = new();
    private readonly List<Served> served = [];
    private readonly string sourceEnd = "@" + Path.GetFullPath(socket);
    private bool closed;

    /// <summary>What is served now.</summary>
    internal MountsDocument List()
    {
        lock (gate)
        {
            return new MountsDocument([.. served.Select(mount => mount.Document)]);
        }
    }

    /// <summary>Mounts a view at a directory in this daemon's mount namespace.</summary>
    /// <exception cref="RequestException">It could not.</exception>
    internal async Task<MountDocument> Mount(string path, string viewName)
    {
        var view = AdminView.Find(viewName);
        if (!Path.IsPathFullyQualified(path))
        {
            throw new RequestException(ExitCode.Usage, "give the directory as an absolute path");
        }

        path = FuseMount.RealPath(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
        ClearDead(path);
        var document = new MountDocument { View = view.Name, Path = path };
        await Serve(() => MountAt(path, view), view, document, takenOver: false).ConfigureAwait(false);
        log.LogInformation("View {View} is mounted at {Path}", view.Name, path);
        return document;
    }

    /// <summary>Serves a mount that another process has made with <see cref="FuseMount.MountAt"/>.</summary>
    /// <exception cref="RequestException">It cannot be served.</exception>
    internal async Task<MountDocument> Adopt(int pid, int descriptor, string viewName)
    {
        var view = AdminView.Find(viewName);
        var document = new MountDocument { View = view.Name, Pid = pid };
        await Serve(() => Take(pid, descriptor), view, document, takenOver: false).ConfigureAwait(false);
        return document;
    }

    /// <summary>Unmounts what is mounted at a directory.</summary>
    /// <exception cref="RequestException">Nothing of ours is, or it is in use.</exception>
    internal MountDocument Unmount(string path, bool lazily)
    {
        path = FuseMount.RealPath(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
        Served? mount;
        lock (gate)
        {
            mount = served.Find(each => each.Document.Path == path);
        }

        if (mount is null || !IsOurs(path, viewName: mount.Document.View))
        {
            throw new RequestException(ExitCode.NotFound, $"nothing of ours is mounted at {path}: see GET /v1/mounts");
        }

        var errno = FuseMount.Unmount(path, lazily);
        if (errno != 0)
        {
            throw errno == Errno.EBUSY
                ? new RequestException(
                    ExitCode.Failed, $"{path} is in use: have its users leave it, or unmount it with --lazy")
                : new RequestException(ExitCode.Failed, $"{path} cannot be unmounted: {Errno.Text(errno)}");
        }

        Remove(mount);
        log.LogInformation("Unmounted {Path}", path);
        return mount.Document;
    }

    /// <summary>Makes the mounts of a dead predecessor anew.</summary>
    internal async Task Restore()
    {
        foreach (var dead in FuseMount.List()
            .Where(mount => mount.Source.EndsWith(sourceEnd, StringComparison.Ordinal)))
        {
            try
            {
                await Mount(dead.Path, dead.Source[..^sourceEnd.Length]).ConfigureAwait(false);
            }
            catch (RequestException error)
            {
                log.LogError("Not mounted again: {Reason}", error.Message);
            }
        }
    }

    /// <summary>Unmounts everything and stops serving.</summary>
    public void Dispose()
    {
        List<Served> last;
        lock (gate)
        {
            closed = true;
            last = [.. served];
        }

        foreach (var mount in last)
        {
            if (mount.Document.Path is { } path && IsOurs(path, mount.Document.View)
                && FuseMount.Unmount(path, lazily: true) is var errno and not 0)
            {
                log.LogError("{Path} could not be unmounted: {Reason}", path, Errno.Text(errno));
            }

            Remove(mount);
        }
    }

    private async Task Serve(Func<SafeFileHandle> open, AdminView view, MountDocument document, bool takenOver)
    {
        // A snapshot has to be there before anybody can read.
        board.Want();
        await loop.Ask(_ => true, CancellationToken.None).ConfigureAwait(false);
        lock (gate)
        {
            if (closed || served.Count >= CountMax)
            {
                throw new RequestException(ExitCode.Failed, closed
                    ? "the daemon is ending: ask again in a moment"
                    : $"{CountMax} mounts are served: unmount some first");
            }

            var mount = new Served(
                new FuseSession(open(), new AdminDirectory(view, board, loop), takenOver), document);
            served.Add(mount);
            _ = mount.Session.Ended.ContinueWith(_ => Remove(mount), TaskScheduler.Default);
        }
    }

    private void Remove(Served mount)
    {
        lock (gate)
        {
            if (!served.Remove(mount))
            {
                return;
            }
        }

        mount.Session.Dispose();
    }

    private SafeFileHandle MountAt(string path, AdminView view)
    {
        if (served.Exists(each => each.Document.Path == path))
        {
            throw new RequestException(ExitCode.Failed, $"{path} is mounted already: samepage unmount {path} first");
        }

        try
        {
            return FuseMount.MountAt(path, view.Name + sourceEnd);
        }
        catch (KernelException error)
        {
            throw error.Errno switch
            {
                Errno.EPERM or Errno.EACCES => new RequestException(
                    ExitCode.NotPermitted, "mounting needs CAP_SYS_ADMIN and /dev/fuse: let the daemon run as root"),
                _ when error.Operation == "open /dev/fuse" => new RequestException(
                    ExitCode.HostNotSupported,
                    $"/dev/fuse cannot be opened ({Errno.Text(error.Errno)}): modprobe fuse"),
                Errno.ENODEV => new RequestException(
                    ExitCode.HostNotSupported, "this kernel has no FUSE: modprobe fuse"),
                Errno.ENOENT or Errno.ENOTDIR => new RequestException(
                    ExitCode.Usage, $"{path} is not a directory: make it first"),
                _ => new RequestException(ExitCode.Failed, error.Message, error),
            };
        }
    }

    private static SafeFileHandle Take(int pid, int descriptor)
    {
        using var process = Pidfd.Open(pid);
        if (process.IsInvalid)
        {
            throw new RequestException(ExitCode.NotFound, $"there is no process {pid}");
        }

        var taken = Pidfd.GetDescriptor(process, descriptor);
        if (taken.IsInvalid)
        {
            throw new RequestException(
                ExitCode.NotFound, $"process {pid} gives no descriptor {descriptor}: {Errno.Text(Errno.Last)}");
        }

        var link = new FileInfo($"/proc/self/fd/{(int)taken.DangerousGetHandle()}").LinkTarget;
        if (link != "/dev/fuse")
        {
            taken.Dispose();
            throw new RequestException(
                ExitCode.Usage, $"descriptor {descriptor} of process {pid} is not one of /dev/fuse");
        }

        return taken;
    }

    // What a daemon of this socket left there serves nobody any more, and nothing can be mounted through it.
    private void ClearDead(string path)
    {
        lock (gate)
        {
            if (served.Exists(each => each.Document.Path == path))
            {
                return;
            }
        }

        while (FuseMount.List().LastOrDefault(mount => mount.Path == path) is { } dead
            && dead.Source.EndsWith(sourceEnd, StringComparison.Ordinal)
            && FuseMount.Unmount(path, lazily: true) == 0)
        {
            log.LogInformation("A dead mount was taken off {Path}", path);
        }
    }

    // Somebody may have unmounted it, or mounted something else over it.
    private bool IsOurs(string path, string viewName) =>
        FuseMount.List().LastOrDefault(mount => mount.Path == path)?.Source == viewName + sourceEnd;

    private sealed record Served(FuseSession Session, MountDocument Document);
}
