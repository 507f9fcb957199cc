using System.Diagnostics;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;

namespace Samepage.Linux.Tracing;

/// <summary>Takes the control area out of a target (<see cref="LeaveProgram"/>). Runs on the tracing thread.</summary>
internal sealed class Departure(ProcessIdentity process, ControlArea control)
{
    private static readonly TimeSpan StepLimit = TimeSpan.FromSeconds(5);

    /// <summary>True when the area is gone; false when it had to stay (a thread may still need its slot).</summary>
    public bool Run()
    {
        if (control.HasSlotsInUse)
        {
            return false;
        }

        byte[] saved = new byte[SlotLayout.RegistersBytes + 8];
        using BorrowedThread thread = Bootstrap.Borrow(process, saved);
        using Padding? padding = Padding.Find(process, LeaveProgram.Image.Length);
        if (padding is null)
        {
            return false;
        }

        ulong mask = thread.SignalMask;
        padding.Write(Bootstrap.WithContext(LeaveProgram.Image, LeaveProgram.ContextOffset, saved, mask));
        byte[] registers = (byte[])saved.Clone();
        BitConverter.TryWriteBytes(registers.AsSpan(SlotLayout.R14), control.TargetBase);
        BitConverter.TryWriteBytes(registers.AsSpan(SlotLayout.R12), control.Header(ControlLayout.ControlFd));
        Bootstrap.Start(thread, registers, padding.Address);
        if (!AwaitDone(thread, padding) || !ReadInstructionPointer(thread, out ulong at))
        {
            padding.Leave();
            return false;
        }

        if (LeaveProgram.IsWaiting(at - padding.Address))
        {
            thread.SignalMask = mask;
            _ = thread.WriteRegisters(saved);
        }
        else
        {
            // It restored itself, because we took too long. A signal handler of its own may still return into the padding.
            padding.Leave();
        }

        return true;
    }

    /// <summary>Waits, looking at the thread's stops, until it waits at the end of the program or has left it.</summary>
    private static bool AwaitDone(BorrowedThread thread, Padding padding)
    {
        var watch = Stopwatch.StartNew();
        while (watch.Elapsed < StepLimit)
        {
            Thread.Sleep(TimeSpan.FromMicroseconds(50));
            thread.Interrupt();
            if (!thread.AwaitStop(StepLimit) || !ReadInstructionPointer(thread, out ulong at))
            {
                return false;
            }

            ulong offset = at - padding.Address;
            if (offset >= (ulong)LeaveProgram.Image.Length || LeaveProgram.IsWaiting(offset))
            {
                return true;
            }

            thread.Continue();
        }

        return false;
    }

    private static bool ReadInstructionPointer(BorrowedThread thread, out ulong at)
    {
        Span<byte> registers = stackalloc byte[SlotLayout.RegistersBytes];
        bool known = thread.ReadRegisters(registers);
        at = BitConverter.ToUInt64(registers[SlotLayout.Rip..]);
        return known;
    }
}
