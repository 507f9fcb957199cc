using Samepage.Linux.Interop;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Host;

/// <summary>Things a process may hold through which its memory is written without any of its threads writing: a
/// device or the kernel keeps pages pinned and stores into them at a time of its own.</summary>
[Flags]
internal enum AsyncWriterKinds
{
    /// <summary>None found.</summary>
    None = 0,

    /// <summary>io_uring: registered buffers, or reads in flight.</summary>
    IoUring = 1,

    /// <summary>Linux aio.</summary>
    Aio = 2,

    /// <summary>Device assignment: vfio, iommufd.</summary>
    Vfio = 4,

    /// <summary>RDMA: InfiniBand verbs.</summary>
    Rdma = 8,

    /// <summary>Virtual machine memory: kvm.</summary>
    Kvm = 16,

    /// <summary>vhost and vduse: the kernel fills guest buffers.</summary>
    Vhost = 32,

    /// <summary>Graphics and compute devices that map user memory, shared DMA buffers.</summary>
    Gpu = 64,

    /// <summary>Could not be looked at, so anything is possible.</summary>
    Unknown = 128,
}

/// <summary>Finds asynchronous writers of a process by its descriptors and mappings.</summary>
internal static class AsyncWriters
{
    /// <summary>Descriptors looked at; a process with more counts as <see cref="AsyncWriterKinds.Unknown"/>.</summary>
    internal const int DescriptorsMax = 1 << 20;

    /// <summary>True when there is one, or when it cannot be told.</summary>
    internal static bool Has(ProcReader proc) => Find(proc, new ProcBuffer()) != AsyncWriterKinds.None;

    /// <summary>Looks at all descriptors of the process and at its maps.</summary>
    internal static AsyncWriterKinds Find(ProcReader proc, ProcBuffer buffer)
    {
        List<int> descriptors = [];
        if (proc.ReadDescriptors(descriptors) != 0 || descriptors.Count > DescriptorsMax)
        {
            return AsyncWriterKinds.Unknown;
        }

        AsyncWriterKinds found = AsyncWriterKinds.None;
        foreach (int descriptor in descriptors)
        {
            // One that has been closed meanwhile reads as null.
            found |= proc.ReadLink($"fd/{descriptor}") is { } link ? OfDescriptor(link) : AsyncWriterKinds.None;
        }

        return proc.Read("maps", buffer) == 0 ? found | OfMaps(buffer.Text) : AsyncWriterKinds.Unknown;
    }

    /// <summary>What the target of a link in /proc/PID/fd stands for.</summary>
    internal static AsyncWriterKinds OfDescriptor(ReadOnlySpan<char> link)
    {
        if (link.StartsWith("anon_inode:"))
        {
            ReadOnlySpan<char> name = link["anon_inode:".Length..];
            return StartsWith(name, "[io_uring]") ? AsyncWriterKinds.IoUring
                : StartsWith(name, "kvm-") || StartsWith(name, "[kvm-") ? AsyncWriterKinds.Kvm
                : StartsWith(name, "[vfio") || StartsWith(name, "[iommufd") ? AsyncWriterKinds.Vfio
                : StartsWith(name, "[infiniband") || StartsWith(name, "[uverbs") ? AsyncWriterKinds.Rdma
                : AsyncWriterKinds.None;
        }

        if (link.StartsWith("/dmabuf:"))
        {
            return AsyncWriterKinds.Gpu;
        }

        return link.StartsWith("/dev/") ? OfDevice(link["/dev/".Length..]) : AsyncWriterKinds.None;
    }

    /// <summary>What the names in maps stand for: an aio ring has no descriptor.</summary>
    internal static AsyncWriterKinds OfMaps(ReadOnlySpan<byte> maps)
    {
        AsyncWriterKinds found = AsyncWriterKinds.None;
        MapsParser parser = new(maps);
        while (parser.TryNext(out MapsLine map))
        {
            if (map.Name.StartsWith("/[aio]"u8))
            {
                found |= AsyncWriterKinds.Aio;
            }
            else if (map.Name.StartsWith("anon_inode:[io_uring]"u8))
            {
                found |= AsyncWriterKinds.IoUring;
            }
            else if (map.Name.StartsWith("anon_inode:kvm-"u8))
            {
                found |= AsyncWriterKinds.Kvm;
            }
        }

        return found;
    }

    private static AsyncWriterKinds OfDevice(ReadOnlySpan<char> device) =>
        device.StartsWith("vfio/") || device.StartsWith("iommu") ? AsyncWriterKinds.Vfio
        : device.StartsWith("infiniband/") ? AsyncWriterKinds.Rdma
        : device.SequenceEqual("kvm") ? AsyncWriterKinds.Kvm
        : device.StartsWith("vhost-") || device.StartsWith("vduse/") ? AsyncWriterKinds.Vhost
        : device.StartsWith("dri/") || device.StartsWith("nvidia") || device.StartsWith("kfd") ||
            device.StartsWith("accel/") || device.SequenceEqual("udmabuf") ? AsyncWriterKinds.Gpu
        : AsyncWriterKinds.None;

    private static bool StartsWith(ReadOnlySpan<char> text, string start) =>
        text.StartsWith(start, StringComparison.Ordinal);
}
