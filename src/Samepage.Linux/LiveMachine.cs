using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Host;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;
using Samepage.Linux.Store;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <summary>
/// The machine of live processes. Attach brings a control area, the store and two userfaultfds into a process
/// (<see cref="Bootstrap"/>); after that <see cref="LiveTarget"/> scans, reads and merges it. One thread at a time.
/// Needs root (CAP_SYS_PTRACE, CAP_SYS_ADMIN), x86-64, Linux 6.8.
/// </summary>
public sealed class LiveMachine : IMachine, IDisposable
{
    private readonly Dictionary<string, TmpfsStore> _stores = new(StringComparer.Ordinal);
    private readonly Dictionary<int, LiveTarget> _targets = [];
    private readonly List<TracerThread> _tracers = [];
    private int _nextTracer;

    private LiveMachine(LiveMachineOptions options)
    {
        Options = options;
        MaxMapCount = ReadMaxMapCount();
    }

    /// <summary>How it works.</summary>
    public LiveMachineOptions Options { get; }

    /// <inheritdoc/>
    public TimeProvider Clock => TimeProvider.System;

    /// <inheritdoc/>
    public TimeSpan CpuTime => Environment.CpuUsage.TotalTime;

    /// <summary>How long batches kept targets waiting.</summary>
    public StopHistogram StopTimes { get; } = new();

    /// <summary>Attached processes.</summary>
    public IReadOnlyCollection<LiveTarget> Targets => _targets.Values;

    internal int MaxMapCount { get; }

    /// <summary>Opens the machine.</summary>
    /// <exception cref="TargetException">Not root, or not x86-64 Linux.</exception>
    public static LiveMachine Open(LiveMachineOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (!OperatingSystem.IsLinux()
            || System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture
                != System.Runtime.InteropServices.Architecture.X64)
        {
            throw new TargetException(TargetError.HostNotSupported, "Samepage merges on x86-64 Linux only");
        }

        if (Libc.EffectiveUid != 0)
        {
            throw new TargetException(
                TargetError.NotPermitted, "merging other processes' memory needs root: run the daemon as root");
        }

        KernelFeatures.Probe().ThrowIfUnusable();
        return new LiveMachine(options);
    }

    /// <inheritdoc/>
    public IPageStore OpenStore(string domain) => Store(domain);

    /// <summary>The store of a domain. Without one, what an earlier daemon left is taken over: from the keeper, else
    /// from the target that is being adopted; else a new one is made.</summary>
    internal TmpfsStore Store(string domain, ProcessIdentity? process = null, int number = -1)
    {
        if (!_stores.TryGetValue(domain, out TmpfsStore? store))
        {
            using SafeFileHandle? left = Options.Keeper.TakeStore(domain) ?? process?.TakeDescriptor(number);
            store = left is null ? TmpfsStore.Create(domain) : TmpfsStore.Adopt(domain, left);
            _stores.Add(domain, store);
            Options.Keeper.KeepStore(domain, (int)store.ReadOnlyDescriptor.DangerousGetHandle());
        }

        return store;
    }

    /// <summary>Who traces a new target: by turns.</summary>
    internal TracerThread TakeTracer()
    {
        int tracer = _nextTracer++ % Options.Tracers;
        if (tracer == _tracers.Count)
        {
            _tracers.Add(new TracerThread());
        }

        return _tracers[tracer];
    }

    /// <summary>Attaches a process, or takes over one that a dead daemon left attached.</summary>
    /// <exception cref="TargetException">It cannot be attached; the message says why and what to do.</exception>
    public LiveTarget Attach(int pid, AttachRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        if (pid == Environment.ProcessId)
        {
            throw new TargetException(TargetError.Usage, $"process {pid} is this daemon itself", pid);
        }

        if (_targets.TryGetValue(pid, out LiveTarget? known))
        {
            if (known.IsAlive)
            {
                throw new TargetException(TargetError.Usage, $"process {pid} is attached already", pid);
            }

            Forget(known);
        }

        ProcessIdentity process = ProcessIdentity.Open(pid);
        try
        {
            string domain = request.Domain ?? $"uid:{process.RealUid}";
            var target = LiveTarget.Attach(this, process, domain, request.Ranges);
            _targets.Add(pid, target);
            return target;
        }
        catch
        {
            process.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Takes everything of ours out of a process. The engine has un-merged its pages before; mappings that still have
    /// private pages in them stay, served by the keeper, and their number is returned.
    /// </summary>
    public int Detach(LiveTarget target)
    {
        ArgumentNullException.ThrowIfNull(target);
        int left = target.Leave();
        Forget(target);
        return left;
    }

    /// <summary>Lets go of a target that has exited (or of one that is to stay as it is for the next daemon).</summary>
    public void Forget(LiveTarget target)
    {
        ArgumentNullException.ThrowIfNull(target);
        _ = _targets.Remove(target.Pid);
        target.Dispose();
    }

    /// <summary>Processes that a dead daemon left attached.</summary>
    public IReadOnlyList<LeftBehind> FindLeftBehind()
    {
        var found = new List<LeftBehind>();
        foreach (string directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory.AsSpan()), out int pid)
                && !_targets.ContainsKey(pid)
                && Adoption.TryRead(pid, Options.Home) is { } record)
            {
                found.Add(new LeftBehind(pid, record.Domain, record.Ranges));
            }
        }

        return found;
    }

    private static int ReadMaxMapCount() =>
        int.TryParse(File.ReadAllText("/proc/sys/vm/max_map_count"), out int count) ? count : 65530;

    /// <summary>Closes the machine. Targets keep their merged pages; the keeper serves them.</summary>
    public void Dispose()
    {
        foreach (LiveTarget target in _targets.Values.ToArray())
        {
            Forget(target);
        }

        foreach (TmpfsStore store in _stores.Values)
        {
            store.Dispose();
        }

        _tracers.ForEach(tracer => tracer.Dispose());
    }
}
