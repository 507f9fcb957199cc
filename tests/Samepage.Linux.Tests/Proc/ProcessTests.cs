using System.Diagnostics;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Tests.Proc;

public class ProcessTests
{
    private readonly ProcBuffer _buffer = new();

    [Fact]
    public void ThisProcessIsDescribedByItsOwnFiles()
    {
        using ProcReader proc = ProcReader.TryOpen(Environment.ProcessId)!;
        Assert.True(proc.TryReadStatus(_buffer, out ProcessStatus status));
        Assert.Equal(Environment.ProcessId, status.Tgid);
        Assert.Equal(Libc.EffectiveUid, status.EffectiveUid);
        Assert.False(status.IsKernelThread);
        Assert.True(proc.TryReadStat(_buffer, out ProcessStat stat));
        Assert.True(stat.StartTicks > 0);
        Assert.True(proc.TryReadStatm(_buffer, out ProcessStatm statm));
        Assert.True(statm.Size > statm.Resident && statm.Resident > 0);
        List<int> threads = [];
        Assert.True(proc.TryReadThreads(threads));
        Assert.Contains(Environment.ProcessId, threads);
        Assert.True(threads.Count > 1);
    }

    [Fact]
    public void EveryLineOfOwnMapsParses()
    {
        using ProcReader proc = ProcReader.TryOpen(Environment.ProcessId)!;
        Assert.Equal(0, proc.Read("maps", _buffer));
        MapsParser parser = new(_buffer.Text);
        int lines = 0;
        while (parser.TryNext(out _))
        {
            lines++;
        }

        Assert.True(lines > 20);
        Assert.Equal(0, parser.Malformed);
    }

    [Fact]
    public void NoFlagOfThisProcessIsUnknown()
    {
        using ProcReader proc = ProcReader.TryOpen(Environment.ProcessId)!;
        Assert.Equal(0, proc.Read("smaps", _buffer));
        SmapsParser parser = new(_buffer.Text);
        while (parser.TryNext(out SmapsEntry entry))
        {
            Assert.NotEqual(VmFlags.None, entry.Flags);
            Assert.Equal(VmFlags.None, entry.Flags & VmFlags.Unknown);
        }
    }

    [Fact]
    public void AProcessIsHeldUntilItExits()
    {
        using Puppet puppet = Puppet.Start();
        using ProcessIdentity identity = ProcessIdentity.Open(puppet.Pid);
        Assert.True(identity.IsRunning);
        Assert.True(identity.HasSameMemory);
        Assert.Equal("puppet", identity.Name);
        puppet.Kill();
        Assert.False(identity.IsRunning);
        Assert.False(identity.HasSameMemory);
        Assert.False(identity.Proc.TryReadStat(_buffer, out _));
    }

    [Fact]
    public void ExecutingAnotherProgramIsNoticedAlthoughTheProcessRunsOn()
    {
        using Puppet puppet = Puppet.Start();
        using ProcessIdentity identity = ProcessIdentity.Open(puppet.Pid);
        puppet.Tell("exec");
        for (int i = 0; i < 200 && identity.HasSameMemory; i++)
        {
            Thread.Sleep(10);
        }

        Assert.False(identity.HasSameMemory);
        Assert.True(identity.IsRunning);
    }

    [Fact]
    public void AZombieIsRefusedAsExited()
    {
        // The shell's child exits, and the program the shell turns into never waits for it.
        using Process parent = Process.Start(new ProcessStartInfo("sh", ["-c", "sleep 0 & echo $!; exec sleep 1000"])
        {
            RedirectStandardOutput = true,
        })!;
        int child = int.Parse(parent.StandardOutput.ReadLine()!);
        try
        {
            using ProcReader proc = ProcReader.TryOpen(child)!;
            ProcessStat stat = default;
            for (int i = 0; i < 200 && !(proc.TryReadStat(_buffer, out stat) && stat.State == 'Z'); i++)
            {
                Thread.Sleep(10);
            }

            Assert.Equal('Z', stat.State);
            TargetException error = Assert.Throws<TargetException>(() => ProcessIdentity.Open(child));
            Assert.Equal(TargetError.NoSuchProcess, error.Error);
            Assert.Contains("zombie", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            parent.Kill();
            parent.WaitForExit();
        }
    }

    [Fact]
    public void AKernelThreadIsRefused()
    {
        Assert.SkipUnless(
            File.Exists("/proc/2/comm") && File.ReadAllText("/proc/2/comm") == "kthreadd\n",
            "no kernel threads visible here (a container's pid namespace)");
        TargetException error = Assert.Throws<TargetException>(() => ProcessIdentity.Open(2));
        Assert.Equal(TargetError.Refused, error.Error);
        Assert.Contains("kernel thread", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, TargetError.Usage)]
    [InlineData(-5, TargetError.Usage)]
    [InlineData(int.MaxValue, TargetError.NoSuchProcess)]
    public void ANumberWithoutAProcessIsRefused(int pid, TargetError expected) =>
        Assert.Equal(expected, Assert.Throws<TargetException>(() => ProcessIdentity.Open(pid)).Error);

    [Fact]
    public void AThreadsNumberIsAnsweredWithItsProcess()
    {
        using ProcReader proc = ProcReader.TryOpen(Environment.ProcessId)!;
        List<int> threads = [];
        Assert.True(proc.TryReadThreads(threads));
        int thread = threads.First(t => t != Environment.ProcessId);
        TargetException error = Assert.Throws<TargetException>(() => ProcessIdentity.Open(thread));
        Assert.Equal(TargetError.NoSuchProcess, error.Error);
        Assert.Contains($"process {Environment.ProcessId}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A32BitProgramIsRefused()
    {
        // Built without a C library, so that no 32-bit headers are needed.
        string program;
        try
        {
            program = CCompiler.Build(
                "narrow",
                "void _start(void) { for (;;) __asm__ volatile(\"int $0x80\" : : \"a\"(29)); }",
                "-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie");
        }
        catch (Xunit.Sdk.TrueException)
        {
            Assert.Skip("the compiler cannot make 32-bit programs");
            throw;
        }

        using Process? narrow = TryStart(program);
        Assert.SkipWhen(narrow is null, "the kernel does not run 32-bit programs");
        try
        {
            TargetException error = Assert.Throws<TargetException>(() => ProcessIdentity.Open(narrow.Id));
            Assert.Equal(TargetError.Refused, error.Error);
            Assert.Contains("32-bit", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            narrow.Kill();
            narrow.WaitForExit();
        }
    }

    [Fact]
    public void ADescriptorIsTakenOverAndAMissingOneIsNamed()
    {
        using Puppet puppet = Puppet.Start();
        using ProcessIdentity identity = ProcessIdentity.Open(puppet.Pid);
        using Microsoft.Win32.SafeHandles.SafeFileHandle taken = identity.TakeDescriptor(0);
        Assert.False(taken.IsInvalid);
        TargetException error = Assert.Throws<TargetException>(() => identity.TakeDescriptor(999));
        Assert.Contains("descriptor 999", error.Message, StringComparison.Ordinal);
    }

    private static Process? TryStart(string program)
    {
        try
        {
            return Process.Start(program);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
