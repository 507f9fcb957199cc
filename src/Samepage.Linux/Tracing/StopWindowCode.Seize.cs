using Iced.Intel;
using Samepage.Linux.Program;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;
using Slot = Samepage.Linux.Program.SlotLayout;
using T = Samepage.Linux.Tracing.ThreadLayout;
using W = Samepage.Linux.Tracing.WindowLayout;

namespace Samepage.Linux.Tracing;

/// <content>Taking hold of threads, and hiding the stop from their system calls.</content>
internal sealed partial class StopWindowCode
{
    /// <summary>Some system calls end with EINTR at a mere stop: epoll_wait, epoll_pwait, epoll_pwait2, rt_sigtimedwait, semop,
    /// semtimedop, io_getevents, io_pgetevents, io_uring_enter; and accept, accept4, recvfrom, recvmsg, sendto, sendmsg on a
    /// socket with a time-out of its own (SO_RCVTIMEO, SO_SNDTIMEO), which then starts anew.</summary>
    internal static readonly int[] RestartableCalls =
        [232, 281, 441, 128, 65, 220, 208, 333, 426, 43, 288, 45, 47, 44, 46];

    /// <summary>
    /// In: rax the result and rdx the number of a system call of thread r14, which stands at a stop. If the call ended with
    /// EINTR for no more than that, tells it to restart unless a handler runs (rax = -ERESTARTNOHAND). Out: eax = 1 if so.
    /// </summary>
    private void EmitHideStop()
    {
        Label restart = _b.NewLabel(), ret = _b.NewLabel();
        _b.Place(ref _hideStop);
        C.sub(rsp, 8);
        C.cmp(rax, -EINTR);
        C.mov(eax, 0);
        C.jne(ret);
        foreach (int call in RestartableCalls)
        {
            C.cmp(rdx, call);
            C.je(restart);
        }

        C.jmp(ret);
        _b.Place(ref restart);
        C.mov(At(W.Peek), -514);
        _b.Syscall(SYS_ptrace, PTRACE_POKEUSER, r14, Slot.Rax, At(W.Peek));
        C.mov(eax, 1);
        _b.Place(ref ret);
        C.add(rsp, 8);
        C.ret();
    }

    /// <summary>Seizes the thread of table entry r15, without stopping it.</summary>
    private void EmitSeize()
    {
        Label seized = _b.NewLabel(), dead = _b.NewLabel();
        _b.Place(ref _seize);
        C.mov(r14d, __dword_ptr[r15 + T.Tid]);
        Ptrace(PTRACE_SEIZE, r14, 0, 0);
        C.test(rax, rax);
        C.je(seized);
        C.cmp(rax, -ESRCH);
        C.je(dead);
        // A zombie leader or an I/O worker: the first has no code to run, the second goes through page faults.
        C.mov(__dword_ptr[r15 + T.State], T.StateRefused);
        C.inc(At(W.Refused));
        C.ret();
        _b.Place(ref dead);
        C.mov(__dword_ptr[r15 + T.State], T.StateDead);
        C.ret();
        _b.Place(ref seized);
        C.mov(__dword_ptr[r15 + T.State], T.StateWaiting);
        C.inc(At(W.Seized));
        C.inc(At(W.Added));
        C.ret();
    }

    /// <summary>Seizes the threads that were to be last, then interrupts all that have not been.</summary>
    private void EmitInterruptAll()
    {
        Label loop = _b.NewLabel(), next = _b.NewLabel(), done = _b.NewLabel(), round = _b.NewLabel(), interrupt = _b.NewLabel();
        _b.Place(ref _interruptAll);
        C.push(r12);
        C.push(r13);
        C.sub(rsp, 8);
        C.mov(r12d, 0);
        _b.Place(ref round);
        C.mov(r13, At(W.ThreadCount));
        C.mov(r15, rbp);
        _b.Place(ref loop);
        C.test(r13, r13);
        C.je(done);
        C.test(r12d, r12d);
        C.jne(interrupt);
        C.cmp(__dword_ptr[r15 + T.State], T.StateLate);
        C.jne(next);
        C.call(_seize);
        C.jmp(next);
        _b.Place(ref interrupt);
        C.cmp(__dword_ptr[r15 + T.State], T.StateWaiting);
        C.jne(next);
        C.cmp(__dword_ptr[r15 + T.Interrupted], 0);
        C.jne(next);
        C.mov(__dword_ptr[r15 + T.Interrupted], 1);
        C.mov(r14d, __dword_ptr[r15 + T.Tid]);
        Ptrace(PTRACE_INTERRUPT, r14, 0, 0);
        _b.Place(ref next);
        C.add(r15, T.Bytes);
        C.dec(r13);
        C.jmp(loop);
        _b.Place(ref done);
        C.inc(r12d);
        C.cmp(r12d, 2);
        C.jb(round);
        C.add(rsp, 8);
        C.pop(r13);
        C.pop(r12);
        C.ret();
    }
}
