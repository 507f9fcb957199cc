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

/// <content>The way back: restoring the borrowed thread, letting everybody go.</content>
internal sealed partial class StopWindowCode
{
    /// <summary>Take the thread back: stop it, mask, registers, and only then free the slot.</summary>
    private void EmitRestore()
    {
        Label wait = _b.NewLabel(), stopped = _b.NewLabel();
        Ptrace(PTRACE_INTERRUPT, At(W.Borrowed), 0, 0);
        C.xor(r13d, r13d);
        _b.Place(ref wait);
        C.call(_pollBorrowed);
        C.test(eax, eax);
        C.js(_leave);
        C.jne(stopped);
        EmitPause(r13d);
        C.jmp(wait);
        _b.Place(ref stopped);
        C.mov(r15, At(W.Slot));
        Ptrace(PTRACE_SETSIGMASK, At(W.Borrowed), 8, Operand.AddressOf(__qword_ptr[r15 + Slot.SignalMask]));
        Ptrace(PTRACE_SETREGS, At(W.Borrowed), 0, r15);
        C.mov(__qword_ptr[r15 + Slot.State], 0);
        SetStatus(WindowStatus.Done);
        _b.Place(ref _leave);
        C.mov(r12, At(W.Header));
        C.mov(__dword_ptr[r12 + Ctl.Mutex], 0);
    }

    /// <summary>Let everybody go, threads with children first: see EmitStopAll.</summary>
    private void EmitRelease()
    {
        Label loop = _b.NewLabel(), next = _b.NewLabel(), done = _b.NewLabel(), waiting = _b.NewLabel();
        Label detach = _b.NewLabel(), known = _b.NewLabel(), round = _b.NewLabel();
        _b.Place(ref _release);
        C.mov(At(W.WantedParent), 1);
        _b.Place(ref round);
        C.mov(r12, rbp);
        C.mov(r13, At(W.ThreadCount));
        _b.Place(ref loop);
        C.test(r13, r13);
        C.je(done);
        C.mov(eax, __dword_ptr[r12 + T.Parent]);
        C.cmp(eax, At32(W.WantedParent));
        C.jne(next);
        C.mov(r14d, __dword_ptr[r12 + T.Tid]);
        C.cmp(__dword_ptr[r12 + T.State], T.StateWaiting);
        C.je(waiting);
        C.cmp(__dword_ptr[r12 + T.State], T.StateStopped);
        C.jne(next);
        C.cmp(__dword_ptr[r12 + T.RegistersKnown], 0);
        C.jne(known);
        // Given up before this thread's registers were read.
        Ptrace(PTRACE_GETREGS, r14, 0, At(W.Registers));
        C.mov(r15, At(W.Registers));
        foreach ((int from, int to) in new[] { (Slot.OrigRax, T.OrigRax), (Slot.Rax, T.Rax), (Slot.R10, T.R10), (Slot.Rip, T.Rip) })
        {
            C.mov(rax, __qword_ptr[r15 + from]);
            C.mov(__qword_ptr[r12 + to], rax);
        }

        _b.Place(ref known);
        C.mov(rax, __qword_ptr[r12 + T.Rax]);
        C.mov(rdx, __qword_ptr[r12 + T.OrigRax]);
        C.call(_hideStop);
        C.test(eax, eax);
        C.je(detach);
        EmitShortenWait(detach);
        _b.Place(ref detach);
        Ptrace(PTRACE_DETACH, r14, 0, 0);
        C.mov(__dword_ptr[r12 + T.State], T.StateReleased);
        C.jmp(next);
        _b.Place(ref waiting);
        C.inc(At(W.Stragglers));
        _b.Place(ref next);
        C.add(r12, T.Bytes);
        C.dec(r13);
        C.jmp(loop);
        _b.Place(ref done);
        C.dec(At(W.WantedParent));
        C.jns(round);
        EmitReturn();
    }

    /// <summary>A wait with a time-out in milliseconds that starts again: mark it, so that the same call is known
    /// again at the next stop, and give it no more than what is left of its time.</summary>
    private void EmitShortenWait(Label detach)
    {
        Label find = _b.NewLabel(), noEntry = _b.NewLabel(), found = _b.NewLabel(), positive = _b.NewLabel();
        Label timed = _b.NewLabel(), other = _b.NewLabel(), poke = _b.NewLabel();
        C.mov(rax, __qword_ptr[r12 + T.OrigRax]);
        C.cmp(rax, 232);
        C.je(timed);
        C.cmp(rax, 281);
        C.jne(detach);
        _b.Place(ref timed);
        C.mov(rax, __qword_ptr[r12 + T.R10]);
        C.test(eax, eax);
        C.jle(detach);
        C.shr(rax, 32);
        C.mov(rcx, At(W.RestartCount));
        C.mov(r15, At(W.Restarts));
        _b.Place(ref find);
        C.test(rcx, rcx);
        C.je(noEntry);
        C.cmp(__dword_ptr[r15 + RestartLayout.Tag], eax);
        C.jne(other);
        C.cmp(__dword_ptr[r15 + RestartLayout.Tid], r14d);
        C.je(found);
        _b.Place(ref other);
        C.add(r15, RestartLayout.Bytes);
        C.dec(rcx);
        C.jmp(find);
        _b.Place(ref noEntry);
        C.mov(rax, At(W.NextTag));
        C.inc(At(W.NextTag));
        C.shl(rax, 32);
        C.mov(ecx, __dword_ptr[r12 + T.R10]);
        C.or(rax, rcx);
        C.mov(__qword_ptr[r12 + T.R10], rax);
        C.mov(r15, rax);
        C.jmp(poke);
        _b.Place(ref found);
        C.call(_clock);
        C.mov(rcx, __qword_ptr[r15 + RestartLayout.DeadlineNanoseconds]);
        C.sub(rcx, rax);
        C.jns(positive);
        C.xor(ecx, ecx);
        _b.Place(ref positive);
        C.mov(rax, rcx);
        C.add(rax, 999_999);
        C.xor(edx, edx);
        C.mov(ecx, 1_000_000);
        C.div(rcx);
        C.mov(ecx, __dword_ptr[r15 + RestartLayout.Tag]);
        C.shl(rcx, 32);
        C.or(rax, rcx);
        C.mov(r15, rax);
        _b.Place(ref poke);
        _b.Syscall(SYS_ptrace, PTRACE_POKEUSER, r14, Slot.R10, r15);
    }

    private void EmitReturn()
    {
        Stamp(W.Time3);
        _b.Syscall(SYS_set_robust_list, At(W.OldRobustHead), W.RobustHeadBytes);
        C.mov(rax, At(W.Status));
        C.add(rsp, 8);
        foreach (AssemblerRegister64 register in (ReadOnlySpan<AssemblerRegister64>)[r15, r14, r13, r12, rbp, rbx])
        {
            C.pop(register);
        }

        C.ret();
    }

    /// <summary>
    /// Between two looks: give way at first, since a thread on an idle CPU stops within microseconds; then sleep, because on
    /// a busy one our own spinning would keep it from running.
    /// </summary>
    private void EmitPause(AssemblerRegister32 looks)
    {
        Label sleep = _b.NewLabel(), done = _b.NewLabel();
        C.inc(looks);
        C.cmp(looks, 40);
        C.ja(sleep);
        _b.Syscall(SYS_sched_yield);
        C.jmp(done);
        _b.Place(ref sleep);
        C.mov(At(W.TimeSpec), 0);
        C.mov(At(W.TimeSpec + 8), 20_000);
        _b.Syscall(SYS_nanosleep, Operand.AddressOf(At(W.TimeSpec)), 0);
        _b.Place(ref done);
    }

    /// <summary>rax = CLOCK_MONOTONIC in nanoseconds.</summary>
    private void EmitClock()
    {
        _b.Place(ref _clock);
        _b.Syscall(SYS_clock_gettime, 1, Operand.AddressOf(At(W.TimeSpec)));
        C.mov(rax, At(W.TimeSpec));
        C.imul(rax, rax, 1_000_000_000);
        C.add(rax, At(W.TimeSpec + 8));
        C.ret();
    }
}
