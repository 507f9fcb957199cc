using Samepage.Linux.Proc;
using Samepage.Linux.Program;

namespace Samepage.Linux.Tracing;

/// <summary>Takes the control area out of a target (<see cref="LeaveProgram"/>). Runs on the tracing thread.</summary>
internal sealed class Departure(ProcessIdentity process, ControlArea control)
{
    private static readonly TimeSpan StepLimit = TimeSpan.FromSeconds(2);

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
        if (!AwaitOutside(thread, padding, LeaveProgram.Image.Length))
        {
            padding.Leave();
            return false;
        }

        return true;
    }

    private static bool AwaitOutside(BorrowedThread thread, Padding padding, int bytes)
    {
        long end = Environment.TickCount64 + (long)StepLimit.TotalMilliseconds;
        byte[] registers = new byte[SlotLayout.RegistersBytes + 8];
        while (Environment.TickCount64 < end)
        {
            Thread.Sleep(TimeSpan.FromMicroseconds(50));
            thread.Interrupt();
            if (!thread.AwaitStop(StepLimit) || !thread.ReadRegisters(registers))
            {
                return false;
            }

            ulong rip = BitConverter.ToUInt64(registers, SlotLayout.Rip);
            if (rip < padding.Address || rip >= padding.Address + (ulong)bytes)
            {
                return true;
            }

            thread.Continue();
        }

        return false;
    }
}
