using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;

namespace Samepage.Linux.Tracing;

/// <summary>
/// Brings the control area, the store and two userfaultfds into a target, once per target and in about half a
/// millisecond of one thread's time; all other threads run on. Steps: borrow a thread; put <see cref="BootstrapProgram"/> into the
/// zero padding behind the vDSO; the thread makes a socket pair and waits; take the other end by pidfd_getfd and send the
/// descriptors; the thread maps the control area and runs the first list of operations there; restore it.
/// </summary>
internal sealed class Bootstrap(ProcessIdentity process, ControlArea control, int storeDescriptor)
{
    private const int F_DUPFD_CLOEXEC = 1030;
    
    /// <summary>Where the originals of a batch wait until it is done: 8 MiB of address space.</summary>
    public const ulong ShadowBytes = 8 << 20;

    private static readonly TimeSpan StopLimit = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan StepLimit = TimeSpan.FromSeconds(5);

    /// <summary>Address space a target gives to look at the store (no memory): 64 GiB.</summary>
    public const ulong WindowBytes = 64ul << 30;

    /// <summary>Runs the bootstrap. Must be called on the tracing thread.</summary>
    /// <exception cref="TargetException">The process is gone, refuses, or has no place or thread for it.</exception>
    public void Run()
    {
        byte[] saved = new byte[SlotLayout.RegistersBytes + 8];
        using BorrowedThread thread = Borrow(process, saved);
        SeccompGate.Check(process.Proc, thread.SeccompFilters());
        ulong mask = thread.SignalMask;
        int slot = control.TakeSlot();
        if (slot < 0)
        {
            throw Failure("its control area is used up");
        }

        SaveContext(control.SlotAddress(slot), saved, mask);
        WriteOperations(DescriptorFloor());
        using Padding padding = Padding.Find(process, BootstrapProgram.Current.Image.Length)
            ?? throw Failure("no executable mapping has room for the bootstrap");
        byte[] image = Image(saved, mask);
        padding.Write(image);
        using var owner = new MutexOwner(control);
        Marshal.WriteInt64(control.SlotAddress(slot) + SlotLayout.State, 1);
        Start(thread, saved, padding.Address + (ulong)BootstrapProgram.Current.Entry);
        bool finished = false;
        try
        {
            Deliver(thread, slot);
            finished = Await(thread, () => Marshal.ReadInt32(control.Address + ControlLayout.Done) != 0);
        }
        finally
        {
            TakeBack(thread, saved, mask, slot, padding);
        }

        if (!finished)
        {
            throw Failure("it did not come through the bootstrap");
        }

        CheckResults();
    }

    /// <summary>Borrows any thread that may be borrowed; tries for a while.</summary>
    public static BorrowedThread Borrow(ProcessIdentity process, byte[] registers)
    {
        var tids = new List<int>();
        var parents = new ParentThreads(process);
        long end = Environment.TickCount64 + 1000;
        while (process.Proc.TryReadThreads(tids) && !Pidfd.HasExited(process.Descriptor))
        {
            parents.Order(tids);
            BorrowedThread? thread = BorrowedThread.Stop(process.Pid, CollectionsMarshal.AsSpan(tids), StopLimit, registers);
            if (thread is not null)
            {
                return thread;
            }

            if (Environment.TickCount64 > end || BorrowedThread.NeedsThreadExit)
            {
                throw new TargetException(
                    TargetError.Refused, $"process {process.Pid}: no thread could be stopped just now; try again", process.Pid);
            }
        }

        throw ProcessIdentity.NoSuchProcess(process.Pid);
    }

    internal static void SaveContext(nint slot, byte[] registers, ulong mask)
    {
        Marshal.Copy(registers, 0, slot, SlotLayout.RegistersBytes);
        Marshal.WriteInt64(slot + SlotLayout.SignalMask, (long)mask);
    }

    /// <summary>The image with the context in place and the restart of an interrupted system call worked out.</summary>
    internal static byte[] Image(byte[] saved, ulong mask) =>
        WithContext(BootstrapProgram.Current.Image, BootstrapProgram.Current.ContextOffset, saved, mask);

    internal static byte[] WithContext(byte[] program, int contextOffset, byte[] saved, ulong mask)
    {
        byte[] image = (byte[])program.Clone();
        Span<byte> context = image.AsSpan(contextOffset);
        saved.AsSpan(0, SlotLayout.RegistersBytes).CopyTo(context);
        BitConverter.TryWriteBytes(context[SlotLayout.SignalMask..], mask);
        long call = BitConverter.ToInt64(saved, SlotLayout.OrigRax);
        long result = BitConverter.ToInt64(saved, SlotLayout.Rax);
        if (call >= 0 && (result is -512 or -513 or -514 or -516 || BorrowedThread.EndedByStop(saved)))
        {
            BitConverter.TryWriteBytes(context[SlotLayout.Rax..], result == -516 ? Abi.SYS_restart_syscall : call);
            BitConverter.TryWriteBytes(context[SlotLayout.Rip..], BitConverter.ToInt64(saved, SlotLayout.Rip) - 2);
        }

        return image;
    }

    internal static void Start(BorrowedThread thread, byte[] saved, ulong entry)
    {
        byte[] registers = (byte[])saved.Clone();
        BitConverter.TryWriteBytes(registers.AsSpan(SlotLayout.Rip), entry);
        BitConverter.TryWriteBytes(registers.AsSpan(SlotLayout.OrigRax), -1L);
        BitConverter.TryWriteBytes(registers.AsSpan(SlotLayout.Eflags), 0x202L);
        // Registers first, then the mask: a death in between must not leave all signals blocked for ever.
        _ = thread.WriteRegisters(registers);
        thread.SignalMask = ulong.MaxValue;
        thread.Continue();
    }

    private void TakeBack(BorrowedThread thread, byte[] saved, ulong mask, int slot, Padding padding)
    {
        thread.Interrupt();
        byte[] registers = new byte[SlotLayout.RegistersBytes];
        if (thread.AwaitStop(StepLimit) && thread.ReadRegisters(registers)
            && IsOurs(BitConverter.ToUInt64(registers, SlotLayout.Rip), padding))
        {
            thread.SignalMask = mask;
            _ = thread.WriteRegisters(saved);
            Marshal.WriteInt64(control.SlotAddress(slot) + SlotLayout.State, 0);
            padding.Clear();
        }
        else
        {
            // Dead, or it has gone home by itself, and must not be put back a second time; or the kernel keeps it. The
            // context in the padding must stay: a signal handler may yet return into it.
            padding.Leave();
        }
    }

    /// <summary>True for a place in the padding or in the control area.</summary>
    private bool IsOurs(ulong instructionPointer, Padding padding) =>
        instructionPointer - padding.Address < (ulong)BootstrapProgram.Current.Image.Length
        || (control.TargetBase != 0 && instructionPointer - control.TargetBase < ControlLayout.TotalBytes);

    private void WriteOperations(ulong floor)
    {
        const ulong cloexecNonblock = 0x80800;
        control.Clear();
        Marshal.WriteInt32(control.Address + ControlLayout.Done, 0);
        // Descriptors go to high numbers at once, so that the application's next open gets the number it expects.
        ReadOnlySpan<(int From, int To)> received =
        [
            (ControlLayout.ReceivedControl, ControlLayout.ControlFd), (ControlLayout.ReceivedStore, ControlLayout.StoreFd),
        ];
        foreach ((int from, int to) in received)
        {
            control.AddCall(Abi.SYS_fcntl, [(ulong)from, F_DUPFD_CLOEXEC, floor], indirect: 1, resultTo: to);
            control.AddCall(Abi.SYS_close, [(ulong)from], indirect: 1);
        }

        foreach (int fd in new[] { ControlLayout.TrackingFd, ControlLayout.MergedFd })
        {
            control.AddCall(
                Abi.SYS_ioctl, [ControlLayout.ReceivedDevice, (ulong)Abi.USERFAULTFD_IOC_NEW, cloexecNonblock],
                indirect: 1, resultTo: ControlLayout.RegisterArgument);
            control.AddCall(
                Abi.SYS_fcntl, [ControlLayout.RegisterArgument, F_DUPFD_CLOEXEC, floor], indirect: 1, resultTo: fd);
            control.AddCall(Abi.SYS_close, [ControlLayout.RegisterArgument], indirect: 1);
        }

        control.AddCall(Abi.SYS_close, [ControlLayout.ReceivedDevice], indirect: 1);
    }

    /// <summary>The operations of the second step: the areas. Not in the first, because a target that locks all memory it
    /// maps from now on (mlockall(MCL_FUTURE)) would fill the whole window; the caller has checked the first mapping.</summary>
    public static void WriteAreaOperations(ControlArea control)
    {
        control.Clear();
        control.SetHeader(ControlLayout.ShadowBytes, ShadowBytes);
        control.SetHeader(ControlLayout.WindowBytes, WindowBytes);
        control.AddCall(
            Abi.SYS_mmap,
            [0, ShadowBytes, Abi.PROT_READ | Abi.PROT_WRITE, Abi.MAP_PRIVATE | Abi.MAP_ANONYMOUS | Abi.MAP_NORESERVE, ulong.MaxValue, 0],
            resultTo: ControlLayout.Shadow);
        control.AddCall(
            Abi.SYS_mmap, [0, WindowBytes, Abi.PROT_READ, Abi.MAP_SHARED, ControlLayout.StoreFd, 0],
            indirect: 1 << 4, resultTo: ControlLayout.Window);
        ReadOnlySpan<(int Address, ulong Bytes)> ours =
        [
            (ControlLayout.Shadow, ShadowBytes), (ControlLayout.Window, WindowBytes), (ControlLayout.Base, ControlLayout.TotalBytes),
        ];
        foreach ((int address, ulong bytes) in ours)
        {
            control.AddCall(Abi.SYS_madvise, [(ulong)address, bytes, Abi.MADV_DONTFORK], indirect: 1);
            // To a core dump the store window would be anonymous shared memory: every page of the store, other processes'
            // content too, would go into the file.
            control.AddCall(Abi.SYS_madvise, [(ulong)address, bytes, Abi.MADV_DONTDUMP], indirect: 1);
        }
    }

    private void CheckResults()
    {
        ReadOnlySpan<int> descriptors =
            [ControlLayout.ControlFd, ControlLayout.StoreFd, ControlLayout.TrackingFd, ControlLayout.MergedFd];
        foreach (int offset in descriptors)
        {
            long value = (long)control.Header(offset);
            if (value < 0)
            {
                throw Failure($"it could not open a descriptor ({Marshal.GetPInvokeErrorMessage((int)-value)})");
            }
        }

    }

    private static bool Await(BorrowedThread thread, Func<bool> done)
    {
        long end = Environment.TickCount64 + (long)StepLimit.TotalMilliseconds;
        while (!done())
        {
            if (!thread.KeepRunning() || Environment.TickCount64 > end)
            {
                return false;
            }

            _ = Libc.syscall(Abi.SYS_sched_yield);
        }

        return true;
    }

    private void Deliver(BorrowedThread thread, int slot)
    {
        int other = -1;
        string task = string.Create(CultureInfo.InvariantCulture, $"task/{thread.Tid}/syscall");
        var buffer = new ProcBuffer();
        if (!Await(thread, () => process.Proc.Read(task, buffer) == 0 && TryFindPair(buffer.Text, out other)))
        {
            throw Failure("it did not answer");
        }

        using SafeFileHandle socket = process.TakeDescriptor(other);
        using SafeFileHandle device = OpenUserfaultfdDevice();
        ReadOnlySpan<ulong> data =
        [
            ControlLayout.TotalBytes, ControlLayout.Code, ControlLayout.SampleKey - ControlLayout.Code,
            ControlLayout.Code + (ulong)MergeProgram.Current.Entry,
            ControlLayout.Stubs + (ulong)(slot * ControlLayout.SlotBytes),
        ];
        DescriptorPassing.Send(
            (int)socket.DangerousGetHandle(), MemoryMarshal.AsBytes(data),
            [control.Descriptor, storeDescriptor, (int)device.DangerousGetHandle()]);
    }

    /// <summary>Finds recvmsg(fd, message, flags, other end, mark) in /proc/PID/task/TID/syscall.</summary>
    private static bool TryFindPair(ReadOnlySpan<byte> text, out int other)
    {
        other = -1;
        if (ProcText.NextField(ref text, (byte)' ') is not [(byte)'4', (byte)'7'])
        {
            return false;
        }

        Span<ulong> arguments = stackalloc ulong[5];
        for (int i = 0; i < arguments.Length; i++)
        {
            ReadOnlySpan<byte> field = ProcText.NextField(ref text, (byte)' ');
            if (!field.StartsWith("0x"u8)
                || !ulong.TryParse(field[2..], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out arguments[i]))
            {
                return false;
            }
        }

        other = (int)arguments[3];
        return arguments[4] == BootstrapProgram.Mark;
    }

    private static SafeFileHandle OpenUserfaultfdDevice()
    {
        SafeFileHandle device = Fcntl.OpenAt(null, "/dev/userfaultfd", Fcntl.O_RDWR | Fcntl.O_CLOEXEC);
        return !device.IsInvalid
            ? device
            : throw new TargetException(
                TargetError.HostNotSupported,
                $"/dev/userfaultfd cannot be opened ({Errno.Text(Errno.Last)}): a kernel with CONFIG_USERFAULTFD and root are needed");
    }

    /// <summary>Number from which our descriptors are taken in the target: high, but below its limit.</summary>
    private ulong DescriptorFloor()
    {
        long limit = ResourceLimits.OpenFiles(process.Pid);
        return (ulong)(limit >= 1024 ? 960 : Math.Max(limit - 8, 3));
    }

    private TargetException Failure(string what) =>
        new(TargetError.Refused, $"process {process.Pid}: {what}", process.Pid);
}
