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

/// <summary>
/// The stop window as machine code of the daemon: stop all threads of a target, lend one of them to the merge program,
/// wait, restore, let all run. It is one native call because a garbage collection of the daemon would otherwise
/// stretch a stop of 0.1 ms to tens of milliseconds: a thread in native code does not wait for the collector.
/// <para>Order that must hold (each was seen to fail otherwise): all threads stopped before one is borrowed, and the task directory read
/// again until nothing new appears; registers set before signals are blocked; on the way back the signal mask before
/// the registers; the slot freed only after both.</para>
/// Registers: rbx the argument block (<see cref="WindowLayout"/>), rbp thread table, r12 to r15 loop state.
/// C signature: long (*)(block*), returns <see cref="WindowStatus"/>.
/// </summary>
internal sealed partial class StopWindowCode
{
    private readonly CodeBuilder _b = new();
    private Label _clock, _waitOne, _leave, _release, _pollBorrowed, _hideStop, _interruptAll, _seize;

    private StopWindowCode()
    {
        _clock = _b.NewLabel();
        _waitOne = _b.NewLabel();
        _leave = _b.NewLabel();
        _release = _b.NewLabel();
        _pollBorrowed = _b.NewLabel();
        _hideStop = _b.NewLabel();
        _interruptAll = _b.NewLabel();
        _seize = _b.NewLabel();
    }

    private Assembler C => _b.C;

    private static AssemblerMemoryOperand At(int offset) => __qword_ptr[rbx + offset];

    private static AssemblerMemoryOperand At32(int offset) => __dword_ptr[rbx + offset];

    /// <summary>The code; position-independent.</summary>
    public static byte[] Build()
    {
        var w = new StopWindowCode();
        w.EmitEntry();
        w.EmitStopAll();
        w.EmitChoose();
        w.EmitCheckDescriptors();
        w.EmitCheckThreadArea();
        w.EmitBorrow();
        w.EmitAwaitDone();
        w.EmitRestore();
        w.EmitRelease();
        w.EmitClock();
        w.EmitWaitOne();
        w.EmitPollBorrowed();
        w.EmitHideStop();
        w.EmitSeize();
        w.EmitInterruptAll();
        return w._b.Assemble(0, [], []);
    }

    private void Ptrace(int request, Operand tid, Operand address, Operand data) =>
        _b.Syscall(SYS_ptrace, request, tid, address, data);

    private void SetStatus(WindowStatus status)
    {
        C.mov(At(W.Status), (int)status);
    }

    private void Stamp(int offset)
    {
        C.call(_clock);
        C.mov(At(offset), rax);
    }

    private void EmitEntry()
    {
        foreach (AssemblerRegister64 register in (ReadOnlySpan<AssemblerRegister64>)[rbx, rbp, r12, r13, r14, r15])
        {
            C.push(register);
        }

        C.sub(rsp, 8);
        C.mov(rbx, rdi);
        C.mov(rbp, At(W.Threads));
        C.mov(At(W.Stragglers), 0);
        C.mov(At(W.Seized), 0);
        C.mov(At(W.Refused), 0);
        C.mov(At(W.ThreadArea), 0);
        C.mov(At(W.RseqArea), 0);
        C.mov(At(W.AllSignals), -1);
        C.mov(At(W.Time1), 0);
        C.mov(At(W.Time2), 0);
        Stamp(W.Time0);
        C.add(rax, At(W.StopLimitNanoseconds));
        C.mov(At(W.Deadline), rax);
        // Our robust list for the time of the window; the C library's comes back at the end.
        _b.Syscall(SYS_set_robust_list, At(W.RobustHead), W.RobustHeadBytes);
    }

    /// <summary>
    /// Seize and interrupt what the task directory lists until it lists nothing new and all have stopped.
    /// <para>
    /// Threads with children come last, and are let go first: to a traced parent the kernel sends even a SIGCHLD that it
    /// ignores, and wakes any thread of the process for it. One that is not ours at that moment sees EINTR for nothing
    /// (seen once in some hundred windows in a process whose children keep ending).
    /// </para>
    /// </summary>
    private void EmitStopAll()
    {
        Label rescan = _b.NewLabel(), read = _b.NewLabel(), entry = _b.NewLabel(), skip = _b.NewLabel();
        Label search = _b.NewLabel(), unknown = _b.NewLabel(), endOfList = _b.NewLabel(), all = _b.NewLabel();
        Label digits = _b.NewLabel(), number = _b.NewLabel(), settle = _b.NewLabel(), settleOnly = _b.NewLabel();
        Label full = _b.NewLabel(), none = _b.NewLabel(), single = _b.NewLabel();
        Label parents = _b.NewLabel(), noParent = _b.NewLabel();

        C.cmp(At(W.Mode), W.ModeSettle);
        C.je(settleOnly);
        C.cmp(At(W.Mode), W.ModeOne);
        C.je(single);
        C.mov(At(W.ThreadCount), 0);
        _b.Place(ref rescan);
        C.mov(At(W.Added), 0);
        _b.Syscall(SYS_lseek, At(W.TaskDirectory), 0, 0);
        _b.Place(ref read);
        _b.Syscall(SYS_getdents64, At(W.TaskDirectory), At(W.DirectoryBuffer), At(W.DirectoryBufferBytes));
        C.test(rax, rax);
        C.jle(endOfList);
        C.mov(r12, At(W.DirectoryBuffer));
        C.lea(r13, __[r12 + rax]);
        _b.Place(ref entry);
        C.cmp(r12, r13);
        C.jae(read);
        // struct linux_dirent64: d_reclen at 16, d_name at 19.
        C.lea(rsi, __[r12 + 19]);
        C.movzx(eax, __word_ptr[r12 + 16]);
        C.add(r12, rax);
        C.xor(r14d, r14d);
        _b.Place(ref digits);
        C.movzx(eax, __byte_ptr[rsi]);
        C.test(eax, eax);
        C.je(number);
        C.sub(eax, '0');
        C.cmp(eax, 9);
        C.ja(entry);
        C.imul(r14d, r14d, 10);
        C.add(r14d, eax);
        C.inc(rsi);
        C.jmp(digits);
        _b.Place(ref number);
        // Known already? The order is stable, but a linear look is enough for tables of this size.
        C.mov(rcx, At(W.ThreadCount));
        C.mov(rdx, rbp);
        _b.Place(ref search);
        C.test(rcx, rcx);
        C.je(unknown);
        C.cmp(__dword_ptr[rdx + T.Tid], r14d);
        C.je(skip);
        C.add(rdx, T.Bytes);
        C.dec(rcx);
        C.jmp(search);
        _b.Place(ref skip);
        C.jmp(entry);
        _b.Place(ref unknown);
        C.mov(rcx, At(W.ThreadCount));
        C.cmp(rcx, At(W.ThreadsMax));
        C.jae(full);
        C.mov(r15, rdx);
        C.inc(At(W.ThreadCount));
        C.mov(__dword_ptr[r15 + T.Tid], r14d);
        C.mov(__dword_ptr[r15 + T.State], T.StateLate);
        C.mov(__dword_ptr[r15 + T.RegistersKnown], 0);
        C.mov(__dword_ptr[r15 + T.Interrupted], 0);
        C.mov(__dword_ptr[r15 + T.Parent], 1);
        C.mov(rcx, At(W.ParentCount));
        C.mov(rdx, At(W.Parents));
        _b.Place(ref parents);
        C.test(rcx, rcx);
        C.je(noParent);
        C.cmp(__dword_ptr[rdx], r14d);
        C.je(entry);
        C.add(rdx, 4);
        C.dec(rcx);
        C.jmp(parents);
        _b.Place(ref noParent);
        C.mov(__dword_ptr[r15 + T.Parent], 0);
        C.call(_seize);
        C.jmp(entry);

        _b.Place(ref endOfList);
        C.call(_interruptAll);
        C.call(_waitOne);
        C.test(eax, eax);
        C.jne(settle);
        C.cmp(At(W.Added), 0);
        C.jne(rescan);
        C.cmp(At(W.Seized), 0);
        C.jne(all);
        C.jmp(none);

        _b.Place(ref single);
        C.mov(At(W.ThreadCount), 1);
        C.mov(r14d, __dword_ptr[rbp + T.Tid]);
        C.mov(__dword_ptr[rbp + T.State], T.StateWaiting);
        C.mov(__dword_ptr[rbp + T.RegistersKnown], 0);
        C.mov(__dword_ptr[rbp + T.Parent], 0);
        C.mov(At(W.Refused), 0);
        Ptrace(PTRACE_SEIZE, r14, 0, 0);
        C.mov(At(W.Refused), rax);
        C.test(rax, rax);
        C.jne(none);
        C.inc(At(W.Seized));
        Ptrace(PTRACE_INTERRUPT, r14, 0, 0);
        C.call(_waitOne);
        C.test(eax, eax);
        C.je(all);
        C.jmp(settle);
        _b.Place(ref settleOnly);
        C.call(_waitOne);
        _b.Place(ref settle);
        SetStatus(WindowStatus.TimedOut);
        C.jmp(_release);
        _b.Place(ref full);
        C.call(_interruptAll);
        C.call(_waitOne);
        SetStatus(WindowStatus.TooManyThreads);
        C.jmp(_release);
        _b.Place(ref none);
        SetStatus(WindowStatus.Gone);
        Label gone = _b.NewLabel();
        // All refused, or the one asked for refused with EPERM: not ours to trace. A zombie answers so too.
        C.cmp(At(W.Refused), 0);
        C.je(gone);
        C.cmp(At(W.Refused), -ESRCH);
        C.je(gone);
        SetStatus(WindowStatus.NotPermitted);
        _b.Place(ref gone);
        C.jmp(_release);
        _b.Place(ref all);
        Stamp(W.Time1);
    }

    /// <summary>Waits until no thread of the table is in StateWaiting; eax = 0, or 1 when the deadline passed.</summary>
    private void EmitWaitOne()
    {
        Label round = _b.NewLabel(), next = _b.NewLabel(), scan = _b.NewLabel(), done = _b.NewLabel();
        Label stopped = _b.NewLabel(), dead = _b.NewLabel(), isStop = _b.NewLabel(), late = _b.NewLabel();
        _b.Place(ref _waitOne);
        C.push(r12);
        C.push(r13);
        C.push(r14);
        C.push(r15);
        C.xor(r15d, r15d);
        _b.Place(ref round);
        C.xor(r14d, r14d);
        C.mov(r12, rbp);
        C.mov(r13, At(W.ThreadCount));
        _b.Place(ref scan);
        C.test(r13, r13);
        C.je(done);
        C.cmp(__dword_ptr[r12 + T.State], T.StateWaiting);
        C.jne(next);
        C.mov(edi, __dword_ptr[r12 + T.Tid]);
        _b.Syscall(SYS_wait4, rdi, Operand.AddressOf(At(W.WaitStatus)), WNOHANG | __WALL, 0);
        C.test(rax, rax);
        C.js(dead);
        C.jne(stopped);
        C.mov(r14d, 1);
        C.jmp(next);
        _b.Place(ref stopped);
        C.mov(eax, At32(W.WaitStatus));
        C.movzx(ecx, al);
        C.cmp(ecx, 0x7F);
        C.jne(dead);
        C.mov(ecx, eax);
        C.shr(ecx, 16);
        C.cmp(ecx, PTRACE_EVENT_STOP);
        C.je(isStop);
        // A signal on its way: let it be delivered, the interrupt is still pending. It may be one that the process
        // ignores and that came only because it is traced; its system call then goes on.
        C.mov(r14d, __dword_ptr[r12 + T.Tid]);
        Ptrace(PTRACE_GETREGS, r14, 0, At(W.Registers));
        C.mov(rdx, At(W.Registers));
        C.mov(rax, __qword_ptr[rdx + Slot.Rax]);
        C.mov(rdx, __qword_ptr[rdx + Slot.OrigRax]);
        C.call(_hideStop);
        C.mov(eax, At32(W.WaitStatus));
        C.shr(eax, 8);
        C.and(eax, 0xFF);
        C.mov(r10d, eax);
        C.mov(esi, __dword_ptr[r12 + T.Tid]);
        C.mov(edi, PTRACE_CONT);
        C.xor(edx, edx);
        C.mov(eax, SYS_ptrace);
        C.syscall();
        C.mov(r14d, 1);
        C.jmp(next);
        _b.Place(ref isStop);
        C.mov(__dword_ptr[r12 + T.State], T.StateStopped);
        C.jmp(next);
        _b.Place(ref dead);
        C.mov(__dword_ptr[r12 + T.State], T.StateDead);
        _b.Place(ref next);
        C.add(r12, T.Bytes);
        C.dec(r13);
        C.jmp(scan);
        _b.Place(ref done);
        C.test(r14d, r14d);
        Label finished = _b.NewLabel();
        C.je(finished);
        C.call(_clock);
        C.cmp(rax, At(W.Deadline));
        C.jae(late);
        EmitPause(r15d);
        C.jmp(round);
        _b.Place(ref late);
        C.mov(eax, 1);
        Label ret = _b.NewLabel();
        C.jmp(ret);
        _b.Place(ref finished);
        C.xor(eax, eax);
        _b.Place(ref ret);
        C.pop(r15);
        C.pop(r14);
        C.pop(r13);
        C.pop(r12);
        C.ret();
    }

    /// <summary>
    /// Read every stopped thread's registers; refuse if one is inside our code; pick the thread to borrow: one that is
    /// inside a system call, else one in user mode outside any rseq critical section.
    /// </summary>
    private void EmitChoose()
    {
        Label loop = _b.NewLabel(), next = _b.NewLabel(), done = _b.NewLabel(), userMode = _b.NewLabel();
        Label inside = _b.NewLabel(), take = _b.NewLabel(), chosen = _b.NewLabel(), noRseq = _b.NewLabel();
        C.mov(At(W.Candidate), 0);
        C.mov(At(W.Borrowed), 0);
        C.mov(r12, rbp);
        C.mov(r13, At(W.ThreadCount));
        _b.Place(ref loop);
        C.test(r13, r13);
        C.je(done);
        C.cmp(__dword_ptr[r12 + T.State], T.StateStopped);
        C.jne(next);
        C.mov(r14d, __dword_ptr[r12 + T.Tid]);
        Ptrace(PTRACE_GETREGS, r14, 0, At(W.Registers));
        C.test(rax, rax);
        C.jne(next);
        C.mov(r15, At(W.Registers));
        foreach ((int from, int to) in new[]
            { (Slot.OrigRax, T.OrigRax), (Slot.Rax, T.Rax), (Slot.R10, T.R10), (Slot.Rip, T.Rip), (Slot.Rsp, T.Rsp) })
        {
            C.mov(rax, __qword_ptr[r15 + from]);
            C.mov(__qword_ptr[r12 + to], rax);
        }

        C.mov(__dword_ptr[r12 + T.RegistersKnown], 1);
        C.mov(rax, __qword_ptr[r15 + Slot.Rip]);
        C.cmp(rax, At(W.ProgramStart));
        C.jb(userMode);
        C.cmp(rax, At(W.ProgramEnd));
        C.jb(inside);
        _b.Place(ref userMode);
        C.cmp(At(W.Candidate), 0);
        C.jne(next); // a thread inside a system call is known; others were only read
        C.cmp(__qword_ptr[r15 + Slot.Cs], 0x33);
        C.jne(next);
        C.cmp(__qword_ptr[r15 + Slot.OrigRax], 0);
        C.jge(take);
        // In user mode: a critical section of restartable sequences must not be left behind our back.
        C.cmp(At(W.Borrowed), 0);
        C.jne(next);
        C.mov(At(W.Rseq), 0);
        Ptrace(PTRACE_GET_RSEQ_CONFIGURATION, r14, 24, Operand.AddressOf(At(W.Rseq)));
        C.cmp(At(W.Rseq), 0);
        C.je(noRseq);
        C.mov(rdx, At(W.Rseq));
        C.add(rdx, 8);
        C.mov(At(W.Peek), 1);
        _b.Syscall(SYS_ptrace, PTRACE_PEEKDATA, r14, rdx, Operand.AddressOf(At(W.Peek)));
        C.cmp(At(W.Peek), 0);
        C.jne(next);
        _b.Place(ref noRseq);
        C.mov(At(W.Borrowed), r14);
        C.jmp(next);
        _b.Place(ref take);
        C.mov(At(W.Borrowed), r14);
        C.mov(At(W.Candidate), 1);
        _b.Place(ref next);
        C.add(r12, T.Bytes);
        C.dec(r13);
        C.jmp(loop);
        _b.Place(ref inside);
        SetStatus(WindowStatus.SomebodyInside);
        C.jmp(_release);
        _b.Place(ref done);
        C.cmp(At(W.Borrowed), 0);
        C.jne(chosen);
        SetStatus(WindowStatus.NoThread);
        C.jmp(_release);
        _b.Place(ref chosen);
    }

    /// <summary>
    /// The program maps and registers by descriptor number. If the application has closed ours and opened a file of its own
    /// under the same number, mapping that would be a catastrophe, so each number is checked now that nobody can change it.
    /// </summary>
    private void EmitCheckDescriptors()
    {
        Label changed = _b.NewLabel(), same = _b.NewLabel();
        for (int i = 0; i < W.DescriptorPairs; i++)
        {
            Label skip = _b.NewLabel();
            int pair = W.Descriptors + 16 * i;
            C.cmp(At(pair), 0);
            C.jl(skip);
            _b.Syscall(SYS_kcmp, At(W.OwnThread), At(W.Borrowed), KCMP_FILE, At(pair), At(pair + 8));
            C.test(rax, rax);
            C.jne(changed);
            _b.Place(ref skip);
        }

        C.jmp(same);
        _b.Place(ref changed);
        SetStatus(WindowStatus.DescriptorsChanged);
        C.jmp(_release);
        _b.Place(ref same);
    }

    /// <summary>
    /// The borrowed thread must never find its own thread area behind a closed gate: the kernel writes the rseq area on
    /// the way back to user mode, and nobody could open the gate. Operations that touch it are skipped.
    /// </summary>
    private void EmitCheckThreadArea()
    {
        Label loop = _b.NewLabel(), next = _b.NewLabel(), done = _b.NewLabel(), skip = _b.NewLabel(), second = _b.NewLabel();
        Ptrace(PTRACE_GETREGS, At(W.Borrowed), 0, At(W.Slot));
        C.mov(At(W.Rseq), 0);
        Ptrace(PTRACE_GET_RSEQ_CONFIGURATION, At(W.Borrowed), 24, Operand.AddressOf(At(W.Rseq)));
        C.mov(r15, At(W.Slot));
        C.mov(rax, __qword_ptr[r15 + Slot.FsBase]);
        C.and(rax, -4096);
        C.mov(At(W.ThreadArea), rax);
        C.mov(rax, At(W.Rseq));
        C.and(rax, -4096);
        C.mov(At(W.RseqArea), rax);
        C.mov(r12, At(W.Header));
        C.mov(r13d, __dword_ptr[r12 + Ctl.OpCount]);
        C.add(r12, Ctl.Operations);
        _b.Place(ref loop);
        C.test(r13, r13);
        C.je(done);
        C.mov(eax, __dword_ptr[r12 + Op.Kind]);
        C.cmp(eax, (int)Op.KindCall);
        C.jae(next);
        C.mov(rax, __qword_ptr[r12 + Op.Start]);
        C.mov(rcx, rax);
        C.add(rcx, __qword_ptr[r12 + Op.Length]);
        foreach (int area in new[] { W.ThreadArea, W.RseqArea })
        {
            // [start, end) meets [area - 4096, area + 8192): thread data lies on both sides of fs_base.
            Label apart = area == W.ThreadArea ? second : next;
            C.mov(rdx, At(area));
            C.test(rdx, rdx);
            C.je(apart);
            C.lea(r8, __[rdx + 8192]);
            C.cmp(rax, r8);
            C.jae(apart);
            C.sub(rdx, 4096);
            C.cmp(rcx, rdx);
            C.ja(skip);
            if (area == W.ThreadArea)
            {
                _b.Place(ref second);
            }
        }

        C.jmp(next);
        _b.Place(ref skip);
        C.mov(__dword_ptr[r12 + Op.Kind], (int)Op.KindSkip);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusThreadArea);
        _b.Place(ref next);
        C.add(r12, Ctl.OperationBytes);
        C.dec(r13);
        C.jmp(loop);
        _b.Place(ref done);
    }

    private void EmitBorrow()
    {
        C.mov(r15, At(W.Slot));
        C.lea(rax, __[r15 + Slot.SignalMask]);
        C.mov(At(W.Peek), rax);
        Ptrace(PTRACE_GETSIGMASK, At(W.Borrowed), 8, At(W.Peek));
        // EINTR that only our stop caused: see EmitRelease, which does the same for all other threads.
        C.mov(__qword_ptr[r15 + Slot.State], 1);
        C.mov(r12, At(W.Header));
        C.mov(eax, At32(W.OwnThread));
        C.or(eax, unchecked((int)FUTEX_WAITERS));
        C.mov(__dword_ptr[r12 + Ctl.Done], 0);
        // No time at all: the program does its first operation and leaves the others.
        Label later = _b.NewLabel();
        C.mov(__qword_ptr[r12 + Ctl.Enough], 1);
        C.cmp(At(W.EnoughNanoseconds), 0);
        C.je(later);
        C.mov(__qword_ptr[r12 + Ctl.Enough], 0);
        _b.Place(ref later);
        C.mov(__dword_ptr[r12 + Ctl.Mutex], eax);
        // The program's registers: the thread's own segments and bases, ours for the few that matter.
        C.mov(rdi, At(W.Registers));
        C.mov(rsi, r15);
        C.mov(ecx, Slot.RegistersBytes / 8);
        C.rep.movsq();
        C.mov(rdi, At(W.Registers));
        C.mov(rsi, At(W.ProgramRegisters));
        foreach (int register in new[] { Slot.R13, Slot.R14, Slot.Rip, Slot.Rsp })
        {
            C.mov(rax, __qword_ptr[rsi + register]);
            C.mov(__qword_ptr[rdi + register], rax);
        }

        C.mov(__qword_ptr[rdi + Slot.OrigRax], -1);
        C.mov(__qword_ptr[rdi + Slot.Eflags], 0x202);
        // Registers first, then the mask: a death in between must not leave all signals blocked for ever.
        Ptrace(PTRACE_SETREGS, At(W.Borrowed), 0, At(W.Registers));
        Ptrace(PTRACE_SETSIGMASK, At(W.Borrowed), 8, Operand.AddressOf(At(W.AllSignals)));
        Ptrace(PTRACE_CONT, At(W.Borrowed), 0, 0);
    }
}
