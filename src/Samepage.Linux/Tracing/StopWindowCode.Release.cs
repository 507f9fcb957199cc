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

    /// <summary>
    /// Let everybody go. Some system calls end with EINTR at a mere stop; they are told to restart
    /// (rax = -ERESTARTNOHAND), and epoll_wait with what is left of its time-out.
    /// </summary>
    private void EmitRelease()
    {
        Label loop = _b.NewLabel(), next = _b.NewLabel(), done = _b.NewLabel(), waiting = _b.NewLabel();
        Label restart = _b.NewLabel(), detach = _b.NewLabel(), find = _b.NewLabel(), noEntry = _b.NewLabel(), found = _b.NewLabel();
        Label positive = _b.NewLabel(), timed = _b.NewLabel(), other = _b.NewLabel(), poke = _b.NewLabel();
        _b.Place(ref _release);
        C.mov(r12, rbp);
        C.mov(r13, At(W.ThreadCount));
        _b.Place(ref loop);
        C.test(r13, r13);
        C.je(done);
        C.mov(r14d, __dword_ptr[r12 + T.Tid]);
        C.cmp(__dword_ptr[r12 + T.State], T.StateWaiting);
        C.je(waiting);
        C.cmp(__dword_ptr[r12 + T.State], T.StateStopped);
        C.jne(next);
        Label known = _b.NewLabel();
        C.cmp(At(W.Time1), 0);
        C.jne(known);
        // Given up before the registers were read.
        Ptrace(PTRACE_GETREGS, r14, 0, At(W.Registers));
        C.mov(r15, At(W.Registers));
        foreach ((int from, int to) in new[] { (Slot.OrigRax, T.OrigRax), (Slot.Rax, T.Rax), (Slot.R10, T.R10), (Slot.Rip, T.Rip) })
        {
            C.mov(rax, __qword_ptr[r15 + from]);
            C.mov(__qword_ptr[r12 + to], rax);
        }

        _b.Place(ref known);
        C.cmp(__qword_ptr[r12 + T.Rax], -EINTR);
        C.jne(detach);
        C.mov(rax, __qword_ptr[r12 + T.OrigRax]);
        foreach (int call in RestartableCalls)
        {
            C.cmp(rax, call);
            C.je(restart);
        }

        C.jmp(detach);
        _b.Place(ref restart);
        C.mov(r15, -514);
        _b.Syscall(SYS_ptrace, PTRACE_POKEUSER, r14, Slot.Rax, r15);
        // A wait with a time-out in milliseconds: mark it, so that the same call is known again at the next stop.
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
        _b.Place(ref detach);
        Ptrace(PTRACE_DETACH, r14, 0, 0);
        C.jmp(next);
        _b.Place(ref waiting);
        C.inc(At(W.Stragglers));
        _b.Place(ref next);
        C.add(r12, T.Bytes);
        C.dec(r13);
        C.jmp(loop);
        _b.Place(ref done);
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

    /// <summary>epoll_wait, epoll_pwait, epoll_pwait2, rt_sigtimedwait, semop, semtimedop, io_getevents, io_pgetevents,
    /// io_uring_enter: the calls from which a mere stop is not hidden by the kernel; and accept, accept4, recvfrom, recvmsg, sendto,
    /// sendmsg on a socket with a time-out of its own (SO_RCVTIMEO, SO_SNDTIMEO), which then starts anew.</summary>
    private static readonly int[] RestartableCalls =
        [232, 281, 441, 128, 65, 220, 208, 333, 426, 43, 288, 45, 47, 44, 46];

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
