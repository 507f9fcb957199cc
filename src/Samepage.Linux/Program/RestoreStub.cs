using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;
using Slot = Samepage.Linux.Program.SlotLayout;

namespace Samepage.Linux.Program;

/// <summary>
/// The way home without the daemon: brings a borrowed thread back to the context saved in its slot.
/// <para>
/// Normally the daemon restores registers and signal mask through ptrace and the kernel does the restart of interrupted
/// system calls. This code runs only when the daemon has died. It does what the kernel would have done: a call
/// that ended with one of the restart errors is made again. The last instruction is a jump through memory, so the slot must stay as it is
/// even when a signal handler runs between the mask and the jump: a slot left behind by a dead daemon is never used again.
/// </para>
/// The same bytes serve every slot, because stub and slot lie at a constant distance.
/// </summary>
internal static class RestoreStub
{
    /// <summary>All general registers but rsp, in the order they are loaded.</summary>
    private static readonly (AssemblerRegister64 Register, int Offset)[] GeneralRegisters =
    [
        (r15, Slot.R15), (r14, Slot.R14), (r13, Slot.R13), (r12, Slot.R12), (rbp, Slot.Rbp), (rbx, Slot.Rbx),
        (r11, Slot.R11), (r10, Slot.R10), (r9, Slot.R9), (r8, Slot.R8), (rcx, Slot.Rcx), (rdx, Slot.Rdx),
        (rsi, Slot.Rsi), (rdi, Slot.Rdi), (rax, Slot.Rax),
    ];

    /// <summary>Emits the stub; <paramref name="slot"/> is the address of the slot in the same address space.</summary>
    public static void Emit(CodeBuilder b, ulong slot)
    {
        Assembler c = b.C;
        Label again = b.NewLabel(), block = b.NewLabel(), ready = b.NewLabel();

        b.LoadAt(rax, slot + Slot.OrigRax);
        c.test(rax, rax);
        c.js(ready);
        b.LoadAt(rcx, slot + Slot.Rax);
        foreach (int restart in new[] { -512, -513, -514 })
        {
            c.cmp(rcx, restart);
            c.je(again);
        }

        c.cmp(rcx, -516);
        c.je(block);
        c.jmp(ready);
        b.Place(ref block);
        c.mov(eax, SYS_restart_syscall);
        b.Place(ref again);
        b.StoreAt(slot + Slot.Rax, rax);
        b.SubtractAt(slot + Slot.Rip, 2);
        b.Place(ref ready);
        EmitLoad(b, slot);
    }

    /// <summary>Loads flags, stack, signal mask and registers from the context and jumps to where it was.</summary>
    public static void EmitLoad(CodeBuilder b, ulong slot)
    {
        Assembler c = b.C;
        b.AddressAt(rsp, slot + Slot.Eflags);
        c.popfq();
        b.LoadAt(rsp, slot + Slot.Rsp);
        // mov and syscall leave the flags alone; signals arrive from here on, on the thread's own stack.
        c.mov(edi, 2);
        b.AddressAt(rsi, slot + Slot.SignalMask);
        c.mov(edx, 0);
        c.mov(r10d, 8);
        c.mov(eax, SYS_rt_sigprocmask);
        c.syscall();
        foreach ((AssemblerRegister64 register, int offset) in GeneralRegisters)
        {
            b.LoadAt(register, slot + (ulong)offset);
        }

        b.JumpThrough(slot + Slot.Rip);
    }

    private static readonly Lazy<byte[]> ControlStub = new(() =>
    {
        var b = new CodeBuilder();
        const ulong pretendedBase = 0x10_0000;
        Emit(b, pretendedBase + ControlLayout.Slots);
        byte[] code = b.Assemble(pretendedBase + ControlLayout.Stubs, [], []);
        return code.Length <= ControlLayout.SlotBytes
            ? code
            : throw new InvalidOperationException($"the restore stub has {code.Length} bytes, room is for {ControlLayout.SlotBytes}");
    });

    /// <summary>The bytes of every stub of a control area.</summary>
    public static ReadOnlySpan<byte> ForControlArea => ControlStub.Value;
}
