using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Memory;
using Samepage.Linux.Proc;
using Samepage.Linux.Store;
using static Samepage.Linux.Interop.Userfaultfd;

namespace Samepage.Linux.Host;

/// <summary>What this host has and lacks for merging live memory, found out by trying. Changes nothing on the
/// host.</summary>
public sealed record KernelFeatures
{
    private const string Newer = "run Linux 6.8 or later";
    private const string AsRoot = "run as root, or give the program CAP_SYS_PTRACE and CAP_SYS_ADMIN";

    private KernelFeatures(IReadOnlyList<KernelFeature> all) => All = all;

    /// <summary>Everything that was looked at, in a sensible order for reading.</summary>
    public IReadOnlyList<KernelFeature> All { get; }

    /// <summary>What stands in the way of merging; empty when nothing does.</summary>
    public IEnumerable<KernelFeature> Obstacles => All.Where(f => f.IsObstacle);

    /// <summary>vm.max_map_count: most memory areas of a process.</summary>
    public int MaxMapCount { get; private init; } = 65530;

    /// <summary>Features the kernel's userfaultfd offers (UFFD_FEATURE_*), 0 if there is none.</summary>
    public ulong UserfaultfdFeatures { get; private init; }

    /// <summary>True when the kernel's own merger is running.</summary>
    public bool IsKsmdRunning { get; private init; }

    /// <summary>Looks at the host.</summary>
    public static KernelFeatures Probe()
    {
        ProcBuffer buffer = new();
        List<KernelFeature> all = [Architecture(), Kernel(), SmallPages()];
        ulong features = ProbeUserfaultfd(all);
        all.Add(PagemapScanning());
        all.Add(TmpfsNoswap());
        all.Add(PidfdGetfd());
        all.Add(CapabilityOf(buffer, Capability.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", required: true,
            "needed to stop and look into processes of other users"));
        all.Add(CapabilityOf(buffer, Capability.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", required: true,
            "needed for the page store and to see page frames"));
        all.Add(CapabilityOf(buffer, Capability.CAP_SYS_NICE, "CAP_SYS_NICE", required: false,
            "lets the tracing thread run with real-time priority, so that stops stay short"));
        all.Add(Yama(buffer));
        all.Add(PageCounts());
        all.Add(Swap());
        int maxMapCount = ReadNumber("/proc/sys/vm/max_map_count") ?? 65530;
        int? ksm = ReadNumber("/sys/kernel/mm/ksm/run");
        return new KernelFeatures(all)
        {
            MaxMapCount = maxMapCount,
            UserfaultfdFeatures = features,
            IsKsmdRunning = ksm == 1,
        };
    }

    /// <summary>Throws when something that merging needs is not there.</summary>
    /// <exception cref="TargetException">One line that names every obstacle and what to do.</exception>
    public void ThrowIfUnusable()
    {
        List<KernelFeature> obstacles = [.. Obstacles];
        if (obstacles.Count == 0)
        {
            return;
        }

        bool onlyPermission = obstacles.TrueForAll(f => f.State == FeatureState.NotPermitted);
        throw new TargetException(
            onlyPermission ? TargetError.NotPermitted : TargetError.HostNotSupported,
            string.Join("; ", obstacles.Select(f => $"{f.Name}: {f.Detail} ({f.Remedy})")));
    }

    private static KernelFeature Architecture() =>
        RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.X64
            ? new KernelFeature("x86-64", FeatureState.Present, true, "yes")
            : new KernelFeature(
                "x86-64", FeatureState.Missing, true, $"this is {RuntimeInformation.ProcessArchitecture}",
                "run on an x86-64 machine");

    private static KernelFeature Kernel()
    {
        Version version = Environment.OSVersion.Version;
        return version >= new Version(6, 8)
            ? new KernelFeature("Linux 6.8", FeatureState.Present, true, $"this is {version}")
            : new KernelFeature("Linux 6.8", FeatureState.Missing, true, $"this is {version}", Newer);
    }

    private static KernelFeature SmallPages() => Environment.SystemPageSize == PageSize.Bytes
        ? new KernelFeature("4 KiB pages", FeatureState.Present, true, "yes")
        : new KernelFeature(
            "4 KiB pages", FeatureState.Missing, true, $"pages have {Environment.SystemPageSize} bytes",
            "run a kernel with 4 KiB pages");

    /// <summary>Adds userfaultfd and each feature of it that is needed; returns all it offers.</summary>
    private static ulong ProbeUserfaultfd(List<KernelFeature> all)
    {
        using SafeFileHandle descriptor = OpenUserfaultfd(out int errno);
        if (descriptor.IsInvalid)
        {
            all.Add(errno is Errno.EPERM or Errno.EACCES
                ? new KernelFeature("userfaultfd", FeatureState.NotPermitted, true, "only for privileged users here",
                    "run as root, or sysctl vm.unprivileged_userfaultfd=1")
                : new KernelFeature("userfaultfd", FeatureState.Missing, true, Errno.Text(errno),
                    "run a kernel built with CONFIG_USERFAULTFD"));
            return 0;
        }

        uffdio_api api = new() { api = UFFD_API };
        // SAFETY: the structure has the size that is encoded in the request number.
        int result;
        unsafe
        {
            result = Ioctl.ioctl(descriptor, UFFDIO_API, &api);
        }

        ulong features = result == 0 ? api.features : 0;
        all.Add(new KernelFeature("userfaultfd", FeatureState.Present, true, $"features 0x{features:x}"));
        AddFeature("WP_ASYNC", UFFD_FEATURE_WP_ASYNC, "6.7");
        AddFeature("MOVE", UFFD_FEATURE_MOVE, "6.8");
        AddFeature("EVENT_FORK", UFFD_FEATURE_EVENT_FORK, "4.11");
        AddFeature("EVENT_REMAP", UFFD_FEATURE_EVENT_REMAP, "4.11");
        AddFeature("MINOR_SHMEM", UFFD_FEATURE_MINOR_SHMEM, "5.14");
        AddFeature("WP_HUGETLBFS_SHMEM", UFFD_FEATURE_WP_HUGETLBFS_SHMEM, "5.19");
        return features;

        void AddFeature(string name, ulong bit, string since) => all.Add((features & bit) != 0
            ? new KernelFeature($"userfaultfd {name}", FeatureState.Present, true, "yes")
            : new KernelFeature(
                $"userfaultfd {name}", FeatureState.Missing, true, $"not offered (in Linux since {since})", Newer));
    }

    /// <summary>By /dev/userfaultfd, as in targets, or by the system call.</summary>
    private static SafeFileHandle OpenUserfaultfd(out int errno)
    {
        using SafeFileHandle device = Fcntl.OpenAt(null, "/dev/userfaultfd", Fcntl.O_RDWR | Fcntl.O_CLOEXEC);
        SafeFileHandle descriptor;
        if (device.IsInvalid)
        {
            descriptor = new SafeFileHandle(
                (nint)Libc.syscall(Capability.SYS_userfaultfd, Fcntl.O_CLOEXEC), ownsHandle: true);
        }
        else
        {
            // SAFETY: this request takes flags by value in place of a pointer.
            unsafe
            {
                descriptor = new SafeFileHandle(
                    Ioctl.ioctl(device, USERFAULTFD_IOC_NEW, (void*)Fcntl.O_CLOEXEC), ownsHandle: true);
            }
        }

        errno = descriptor.IsInvalid ? Errno.Last : 0;
        return descriptor;
    }

    private static KernelFeature PagemapScanning()
    {
        const string name = "PAGEMAP_SCAN";
        using ProcReader? self = ProcReader.TryOpen(Environment.ProcessId);
        if (self is null)
        {
            return new KernelFeature(name, FeatureState.Unknown, true, "no /proc", "mount /proc");
        }

        try
        {
            using PagemapScanner scanner = PagemapScanner.Open(self);
            ulong cursor = 1;
            _ = scanner.Present(ref cursor, 2, new PageRange[1], out _);
            return new KernelFeature(name, FeatureState.Present, true, "yes");
        }
        catch (IOException error)
        {
            return new KernelFeature(name, FeatureState.Missing, true, error.Message, Newer);
        }
        catch (TargetException error)
        {
            return new KernelFeature(name, FeatureState.NotPermitted, true, error.Message, AsRoot);
        }
    }

    private static KernelFeature TmpfsNoswap()
    {
        const string name = "tmpfs noswap";
        try
        {
            using TmpfsStore store = TmpfsStore.Create("probe");
            return new KernelFeature(name, FeatureState.Present, true, "yes");
        }
        catch (TargetException error)
        {
            return error.Error == TargetError.NotPermitted
                ? new KernelFeature(name, FeatureState.NotPermitted, true, "only with CAP_SYS_ADMIN", AsRoot)
                : new KernelFeature(name, FeatureState.Missing, true, error.Message, "run Linux 6.4 or later");
        }
    }

    private static KernelFeature PidfdGetfd()
    {
        const string name = "pidfd_getfd";
        using SafeFileHandle self = Pidfd.Open(Environment.ProcessId);
        if (self.IsInvalid)
        {
            return new KernelFeature(name, FeatureState.Missing, true, Errno.Text(Errno.Last), Newer);
        }

        using SafeFileHandle copy = Pidfd.GetDescriptor(self, (int)self.DangerousGetHandle());
        int errno = copy.IsInvalid ? Errno.Last : 0;
        return errno switch
        {
            0 => new KernelFeature(name, FeatureState.Present, true, "yes"),
            Errno.EPERM => new KernelFeature(
                name, FeatureState.NotPermitted, true, "refused (a seccomp filter?)", AsRoot),
            _ => new KernelFeature(name, FeatureState.Missing, true, Errno.Text(errno), Newer),
        };
    }

    private static KernelFeature CapabilityOf(
        ProcBuffer buffer, int capability, string name, bool required, string purpose)
    {
        using ProcReader? self = ProcReader.TryOpen(Environment.ProcessId);
        if (self is null || !self.TryReadStatus(buffer, out ProcessStatus status))
        {
            return new KernelFeature(name, FeatureState.Unknown, required, "no /proc/self/status", "mount /proc");
        }

        return ((status.Capabilities >> capability) & 1) != 0
            ? new KernelFeature(name, FeatureState.Present, required, "yes")
            : new KernelFeature(
                name, FeatureState.NotPermitted, required, purpose, $"run as root, or give the program {name}");
    }

    private static KernelFeature Yama(ProcBuffer buffer)
    {
        const string name = "ptrace";
        int? scope = ReadNumber("/proc/sys/kernel/yama/ptrace_scope");
        using ProcReader? self = ProcReader.TryOpen(Environment.ProcessId);
        bool privileged = self is not null && self.TryReadStatus(buffer, out ProcessStatus status) &&
            ((status.Capabilities >> Capability.CAP_SYS_PTRACE) & 1) != 0;
        return scope switch
        {
            3 => new KernelFeature(
                name, FeatureState.NotPermitted, true, "kernel.yama.ptrace_scope is 3: nobody may trace until reboot",
                "boot with a lower kernel.yama.ptrace_scope"),
            1 or 2 when !privileged => new KernelFeature(
                name, FeatureState.NotPermitted, true, $"kernel.yama.ptrace_scope is {scope}", AsRoot),
            _ => new KernelFeature(
                name, FeatureState.Present, true, scope is null ? "no Yama" : $"kernel.yama.ptrace_scope is {scope}"),
        };
    }

    private static KernelFeature PageCounts()
    {
        using SafeFileHandle counts = Fcntl.OpenAt(null, "/proc/kpagecount", Fcntl.O_RDONLY | Fcntl.O_CLOEXEC);
        return !counts.IsInvalid
            ? new KernelFeature("/proc/kpagecount", FeatureState.Present, false, "yes")
            : new KernelFeature(
                "/proc/kpagecount",
                Errno.Last is Errno.EACCES or Errno.EPERM ? FeatureState.NotPermitted : FeatureState.Missing, false,
                "without it no store page is ever given back",
                "run as root on a kernel built with CONFIG_PROC_PAGE_MONITOR");
    }

    /// <summary>Store pages cannot be swapped, as KSM's cannot; the pages of targets may be.</summary>
    private static KernelFeature Swap()
    {
        using SafeFileHandle swaps = Fcntl.OpenAt(null, "/proc/swaps", Fcntl.O_RDONLY | Fcntl.O_CLOEXEC);
        ProcBuffer buffer = new();
        int areas = swaps.IsInvalid || buffer.ReadAll(swaps) != 0 ? 0 : Math.Max(0, buffer.Text.Count((byte)'\n') - 1);
        return new KernelFeature(
            "swap", FeatureState.Present, false,
            areas == 0 ? "none" : $"{areas} areas: swapped pages are merged when they come back");
    }

    private static int? ReadNumber(string path)
    {
        using SafeFileHandle file = Fcntl.OpenAt(null, path, Fcntl.O_RDONLY | Fcntl.O_CLOEXEC);
        Span<byte> text = stackalloc byte[32];
        if (file.IsInvalid)
        {
            return null;
        }

        nint length = Fcntl.Read(file, text, 0);
        return length > 0 && ProcText.TryLeadingDecimal(text[..(int)length], out ulong number) && number <= int.MaxValue
            ? (int)number
            : null;
    }
}
