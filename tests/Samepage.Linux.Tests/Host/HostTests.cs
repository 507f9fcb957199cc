using Samepage.Linux.Host;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Tests.Host;

public class HostTests
{
    [Theory]
    [InlineData("anon_inode:[io_uring]", AsyncWriterKinds.IoUring)]
    [InlineData("anon_inode:kvm-vm", AsyncWriterKinds.Kvm)]
    [InlineData("anon_inode:kvm-vcpu:3", AsyncWriterKinds.Kvm)]
    [InlineData("/dev/kvm", AsyncWriterKinds.Kvm)]
    [InlineData("/dev/vfio/12", AsyncWriterKinds.Vfio)]
    [InlineData("anon_inode:[vfio-device]", AsyncWriterKinds.Vfio)]
    [InlineData("/dev/infiniband/uverbs0", AsyncWriterKinds.Rdma)]
    [InlineData("anon_inode:[infinibandevent]", AsyncWriterKinds.Rdma)]
    [InlineData("/dev/vhost-net", AsyncWriterKinds.Vhost)]
    [InlineData("/dev/dri/renderD128", AsyncWriterKinds.Gpu)]
    [InlineData("/dev/nvidia0", AsyncWriterKinds.Gpu)]
    [InlineData("/dmabuf:udmabuf", AsyncWriterKinds.Gpu)]
    [InlineData("anon_inode:[eventpoll]", AsyncWriterKinds.None)]
    [InlineData("socket:[1]", AsyncWriterKinds.None)]
    [InlineData("/dev/null", AsyncWriterKinds.None)]
    [InlineData("/tmp/dev/kvm", AsyncWriterKinds.None)]
    [InlineData("", AsyncWriterKinds.None)]
    public void ADescriptorsLinkTellsWhetherItWrites(string link, object expected) =>
        Assert.Equal((AsyncWriterKinds)expected, AsyncWriters.OfDescriptor(link));

    [Fact]
    public void AnAioRingIsSeenInMaps() => Assert.Equal(
        AsyncWriterKinds.Aio,
        AsyncWriters.OfMaps("7f00001000-7f00003000 rw-s 00000000 00:0f 4242          /[aio] (deleted)\n"u8));

    [Fact]
    public void AProcessThatSetsUpIoUringBecomesAnAsynchronousWriter()
    {
        using Puppet puppet = Puppet.Start();
        using ProcReader proc = ProcReader.TryOpen(puppet.Pid)!;
        ProcBuffer buffer = new();
        Assert.Equal(AsyncWriterKinds.None, AsyncWriters.Find(proc, buffer));
        Assert.SkipWhen(puppet.Do("uring") > int.MaxValue, "io_uring is not available here");
        Assert.Equal(AsyncWriterKinds.IoUring, AsyncWriters.Find(proc, buffer));
        puppet.Kill();
        Assert.Equal(AsyncWriterKinds.Unknown, AsyncWriters.Find(proc, buffer));
    }

    [Fact]
    public void TheProbeNamesEachThingOnceAndAgreesWithItself()
    {
        KernelFeatures features = KernelFeatures.Probe();
        Assert.Equal(features.All.Count, features.All.Select(f => f.Name).Distinct().Count());
        Assert.All(features.All, f => Assert.NotEqual("", f.Detail));
        Assert.All(features.Obstacles, f => Assert.NotEqual("", f.Remedy));
        Assert.Equal(
            int.Parse(File.ReadAllText("/proc/sys/vm/max_map_count")), features.MaxMapCount);
    }

    [Fact]
    public void AHostWithoutObstaclesIsUsableAndAnyOtherSaysWhatToDo()
    {
        KernelFeatures features = KernelFeatures.Probe();
        if (features.Obstacles.FirstOrDefault() is not { } obstacle)
        {
            features.ThrowIfUnusable();
            return;
        }

        TargetException error = Assert.Throws<TargetException>(features.ThrowIfUnusable);
        Assert.Contains(obstacle.Remedy, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }
}
