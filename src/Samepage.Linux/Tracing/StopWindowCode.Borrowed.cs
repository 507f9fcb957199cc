using Iced.Intel;
using Samepage.Linux.Program;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;
using Ctl = Samepage.Linux.Program.ControlLayout;
using Op = Samepage.Linux.Program.OpLayout;
using Operand = Samepage.Linux.Program.CodeBuilder.Operand;
using Slot = Samepage.Linux.Program.SlotLayout;
using T = Samepage.Linux.Tracing.ThreadLayout;
using W = Samepage.Linux.Tracing.WindowLayout;

namespace Samepage.Linux.Tracing;

/// <content>While a thread is lent to the merge program.</content>
internal sealed partial class StopWindowCode
{
    /// <summary>
    /// Waits for the program, and tells it when it is enough: whatever the estimate of a batch was worth, the target stands still
    /// no longer than that and one operation.
    /// </summary>
    private void EmitAwaitDone()
    {
        Label spin = _b.NewLabel(), done = _b.NewLabel(), poll = _b.NewLabel(), wait = _b.NewLabel();
        C.mov(r12, At(W.Header));
        C.mov(r13d, SpinsBeforeWait);
        _b.Place(ref spin);
        C.cmp(__dword_ptr[r12 + Ctl.Done], 0);
        C.jne(done);
        C.pause();
        C.dec(r13d);
        C.jne(spin);
        // Most batches take longer than is worth spinning for.
        C.mov(rax, At(W.EnoughNanoseconds));
        _b.Place(ref wait);
        C.mov(At(W.TimeSpec), 0);
        C.mov(At(W.TimeSpec + 8), rax);
        _b.Syscall(
            SYS_futex, Operand.AddressOf(__qword_ptr[r12 + Ctl.Done]), FUTEX_WAIT, 0, Operand.AddressOf(At(W.TimeSpec)));
        C.cmp(__dword_ptr[r12 + Ctl.Done], 0);
        C.jne(done);
        C.cmp(rax, -ETIMEDOUT);
        C.jne(poll);
        C.mov(__qword_ptr[r12 + Ctl.Enough], 1);
        _b.Place(ref poll);
        C.call(_pollBorrowed);
        C.test(eax, eax);
        C.js(_leave);
        // The limit on the wait is there to see the thread's own stops.
        C.mov(eax, 500_000);
        C.jmp(wait);
        _b.Place(ref done);
        Stamp(W.Time2);
    }

    private const int SpinsBeforeWait = 200;

    /// <summary>
    /// Looks at the borrowed thread without waiting. eax = 0 it runs (again), 1 it stands at our interrupt, -1 it is dead.
    /// </summary>
    private void EmitPollBorrowed()
    {
        Label stopped = _b.NewLabel(), dead = _b.NewLabel(), deliver = _b.NewLabel(), fault = _b.NewLabel(), ret = _b.NewLabel();
        Label interrupted = _b.NewLabel();
        _b.Place(ref _pollBorrowed);
        C.sub(rsp, 8);
        _b.Syscall(SYS_wait4, At(W.Borrowed), Operand.AddressOf(At(W.WaitStatus)), WNOHANG | __WALL, 0);
        C.test(rax, rax);
        C.js(dead);
        C.jne(stopped);
        C.xor(eax, eax);
        C.jmp(ret);
        _b.Place(ref stopped);
        C.mov(eax, At32(W.WaitStatus));
        C.movzx(ecx, al);
        C.cmp(ecx, 0x7F);
        C.jne(dead);
        C.mov(ecx, eax);
        C.shr(ecx, 16);
        C.shr(eax, 8);
        C.and(eax, 0xFF);
        C.cmp(ecx, PTRACE_EVENT_STOP);
        C.je(interrupted);
        foreach (int signal in new[] { 4, 5, 7, 8, 11 })
        {
            C.cmp(eax, signal);
            C.je(fault);
        }

        C.jmp(deliver);
        _b.Place(ref interrupted);
        C.cmp(__dword_ptr[r12 + Ctl.Done], 0);
        C.mov(r10d, 0);
        C.je(deliver); // group stop while the program runs: it runs on although the group is stopped
        C.mov(eax, 1);
        C.jmp(ret);
        _b.Place(ref fault);
        Ptrace(PTRACE_GETREGS, At(W.Borrowed), 0, At(W.Registers));
        C.mov(rdx, At(W.Registers));
        C.mov(rax, At(W.FaultRip));
        C.mov(__qword_ptr[rdx + Slot.Rip], rax);
        C.mov(__qword_ptr[rdx + Slot.OrigRax], -1);
        Ptrace(PTRACE_SETREGS, At(W.Borrowed), 0, At(W.Registers));
        Ptrace(PTRACE_SETSIGMASK, At(W.Borrowed), 8, Operand.AddressOf(At(W.AllSignals)));
        C.xor(eax, eax);
        _b.Place(ref deliver);
        Label withSignal = _b.NewLabel();
        C.mov(ecx, At32(W.WaitStatus));
        C.shr(ecx, 16);
        C.cmp(ecx, PTRACE_EVENT_STOP);
        C.jne(withSignal);
        C.xor(eax, eax);
        _b.Place(ref withSignal);
        C.mov(r10d, eax);
        C.mov(edi, PTRACE_CONT);
        C.mov(rsi, At(W.Borrowed));
        C.xor(edx, edx);
        C.mov(eax, SYS_ptrace);
        C.syscall();
        C.xor(eax, eax);
        C.jmp(ret);
        _b.Place(ref dead);
        C.mov(At(W.Borrowed), 0);
        SetStatus(WindowStatus.Gone);
        C.mov(eax, -1);
        _b.Place(ref ret);
        C.add(rsp, 8);
        C.ret();
    }
}
