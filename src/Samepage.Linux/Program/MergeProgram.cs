using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;
using Ctl = Samepage.Linux.Program.ControlLayout;
using Op = Samepage.Linux.Program.OpLayout;
using Operand = Samepage.Linux.Program.CodeBuilder.Operand;

namespace Samepage.Linux.Program;

/// <summary>
/// The merge program: the code a borrowed thread of the target runs while all others are stopped.
/// <para>
/// It walks the list of operations in the control area. A Share operation is the merge transaction of one run:
/// gate the run (register it for missing faults, so that kernel workers and other processes that touch it block), move
/// its pages to the shadow area (UFFDIO_MOVE refuses pinned and fork-shared pages), compare them with the
/// store, map the store over the run, install the page-table entries, register the mapping with the keeper's userfaultfd,
/// open the gate. Every step that fails leads back: pages that were moved are moved back.
/// </para>
/// <para>
/// The daemon holds the mutex of the control area as a robust futex. When the kernel marks it FUTEX_OWNER_DIED the
/// program finishes or undoes the run it is at and restores the thread by itself through its slot's stub. So there is no
/// instant at which the daemon's death could harm the target. Nothing here uses the thread's stack or its SIMD state.
/// </para>
/// Registers: r14 control area, r13 restore stub, r12 operation, ebp operations left, r15 bytes in the shadow,
/// rbx bytes that stay merged.
/// </summary>
internal sealed partial class MergeProgram
{
    private readonly CodeBuilder _b = new();
    private Label _nextOp, _opDone, _finish, _leave, _fault, _entry;
    private Label _share, _zero, _reshare, _call, _moveBack, _openGate, _compareStore, _mapStore, _undoMap, _convert, _advise;

    private MergeProgram()
    {
        _entry = _b.NewLabel();
        _nextOp = _b.NewLabel();
        _opDone = _b.NewLabel();
        _finish = _b.NewLabel();
        _leave = _b.NewLabel();
        _fault = _b.NewLabel();
        _share = _b.NewLabel();
        _zero = _b.NewLabel();
        _reshare = _b.NewLabel();
        _call = _b.NewLabel();
        _moveBack = _b.NewLabel();
        _openGate = _b.NewLabel();
        _compareStore = _b.NewLabel();
        _mapStore = _b.NewLabel();
        _undoMap = _b.NewLabel();
        _convert = _b.NewLabel();
        _advise = _b.NewLabel();
        _sample = _b.NewLabel();
        _sampleFault = _b.NewLabel();
        _sampleEnded = _b.NewLabel();
    }

    /// <summary>Position-independent machine code.</summary>
    public required byte[] Code { get; init; }

    /// <summary>Offset where a borrowed thread starts.</summary>
    public required int Entry { get; init; }

    /// <summary>Offset where it goes on after a fault of the program itself (a store page the host could not supply, a page to
    /// be sampled that is not to be read).</summary>
    public required int FaultEntry { get; init; }

    /// <summary>Offset of the routine that compares a run with the store: tests replace it to see damage noticed.</summary>
    public required int CompareEntry { get; init; }

    /// <summary>Offset of what puts the program's own signal actions back after a fault in a sample, and of what follows: tests
    /// leave it out to see damage noticed.</summary>
    public required (int Restore, int After) SampleFault { get; init; }

    private static readonly Lazy<MergeProgram> Instance = new(Build);

    /// <summary>The assembled program.</summary>
    public static MergeProgram Current => Instance.Value;

    private Assembler C => _b.C;

    private static AssemblerMemoryOperand Head(int offset) => __qword_ptr[r14 + offset];

    private static AssemblerMemoryOperand Field(int offset) => __qword_ptr[r12 + offset];

    private static MergeProgram Build()
    {
        var p = new MergeProgram { Code = [], Entry = 0, FaultEntry = 0, CompareEntry = 0, SampleFault = default };
        p.EmitDispatch();
        p.EmitFinish();
        p.EmitCall();
        p.EmitShare();
        p.EmitZero();
        p.EmitReshare();
        p.EmitConvert();
        p.EmitAdvise();
        p.EmitMapStore();
        p.EmitUndoMap();
        p.EmitCompareStore();
        p.EmitMoveBack();
        p.EmitOpenGate();
        p.EmitSample();
        p.EmitFault();
        Span<int> offsets = stackalloc int[5];
        byte[] code = p._b.Assemble(0, [p._entry, p._fault, p._compareStore, p._sampleFault, p._sampleEnded], offsets);
        if (code.Length > Ctl.CodeBytes)
        {
            throw new InvalidOperationException($"the merge program has {code.Length} bytes, room is for {Ctl.CodeBytes}");
        }

        return new MergeProgram
        {
            Code = code,
            Entry = offsets[0],
            FaultEntry = offsets[1],
            CompareEntry = offsets[2],
            SampleFault = (offsets[3], offsets[4]),
        };
    }

    private void JumpIfOwnerDied(Label target)
    {
        C.test(__dword_ptr[r14 + Ctl.Mutex], FUTEX_OWNER_DIED);
        C.jne(target);
    }

    private void EmitDispatch()
    {
        _b.Place(ref _entry);
        C.cld();
        C.lea(r12, __[r14 + Ctl.Operations]);
        C.mov(ebp, __dword_ptr[r14 + Ctl.OpCount]);
        C.mov(Head(Ctl.ShadowUsed), 0);
        C.mov(Head(Ctl.InShadow), 0);
        C.mov(Head(Ctl.GatedFrom), 0);
        C.mov(Head(Ctl.GatedTo), 0);
        _b.Place(ref _nextOp);
        C.test(ebp, ebp);
        C.je(_finish);
        JumpIfOwnerDied(_finish);
        EmitEnough();
        Label perform = _b.NewLabel();
        C.test(__dword_ptr[r12 + Op.Flags], Op.FlagContinues);
        C.je(perform);
        C.cmp(__dword_ptr[r12 - Op_Bytes + Op.Status], (int)Op.StatusDone);
        C.jne(_opDone);
        _b.Place(ref perform);
        C.mov(eax, __dword_ptr[r12 + Op.Kind]);
        foreach ((uint kind, Label code) in new[]
            { (Op.KindShare, _share), (Op.KindZero, _zero), (Op.KindReshare, _reshare),
              (Op.KindConvert, _convert), (Op.KindCall, _call), (Op.KindSample, _sample) })
        {
            C.cmp(eax, (int)kind);
            C.je(code);
        }

        _b.Place(ref _opDone);
        C.add(r12, Op_Bytes);
        C.dec(ebp);
        C.jmp(_nextOp);
    }

    /// <summary>Enough is enough, but the first operation always runs: a window that does nothing would come for ever.</summary>
    private void EmitEnough()
    {
        Label goOn = _b.NewLabel();
        C.cmp(Head(Ctl.Enough), 0);
        C.je(goOn);
        C.cmp(ebp, __dword_ptr[r14 + Ctl.OpCount]);
        C.je(goOn);
        C.cmp(__dword_ptr[r12 + Op.Kind], (int)Op.KindConvert);
        C.jae(goOn);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusLeft);
        C.jmp(_opDone);
        _b.Place(ref goOn);
    }

    private const int PrefetchBytes = 2048;

    /// <summary>30 to 100 us.</summary>
    private const int SpinsAtEnd = 2000;
    private const int Op_Bytes = Ctl.OperationBytes;

    /// <summary>Wake who waits at a gate, drop the originals and, when asked to, the store window's page-table entries;
    /// report, wait for the daemon, leave.</summary>
    private void EmitFinish()
    {
        Label noShadow = _b.NewLabel(), noWindow = _b.NewLabel(), wait = _b.NewLabel(), noGate = _b.NewLabel();
        Label alive = _b.NewLabel(), spin = _b.NewLabel();
        _b.Place(ref _finish);
        C.mov(rax, Head(Ctl.GatedFrom));
        C.mov(rcx, Head(Ctl.GatedTo));
        C.sub(rcx, rax);
        C.je(noGate);
        C.mov(Head(Ctl.WakeArgument), rax);
        C.mov(Head(Ctl.WakeArgument + 8), rcx);
        _b.Syscall(SYS_ioctl, Head(Ctl.TrackingFd), UFFDIO_WAKE, Operand.AddressOf(Head(Ctl.WakeArgument)));
        _b.Place(ref noGate);
        C.cmp(Head(Ctl.ShadowUsed), 0);
        C.je(noShadow);
        _b.Syscall(SYS_madvise, Head(Ctl.Shadow), Head(Ctl.ShadowUsed), MADV_DONTNEED);
        _b.Place(ref noShadow);
        // With the daemon dead nobody would ask for it later.
        C.test(__dword_ptr[r14 + Ctl.Mutex], FUTEX_OWNER_DIED);
        C.je(alive);
        C.mov(rax, Head(Ctl.Window));
        C.test(rax, rax);
        C.jle(alive); // not mapped yet, or no more
        C.mov(Head(Ctl.WindowDropStart), rax);
        C.mov(rax, Head(Ctl.WindowBytes));
        C.mov(Head(Ctl.WindowDropBytes), rax);
        _b.Place(ref alive);
        C.cmp(Head(Ctl.WindowDropBytes), 0);
        C.je(noWindow);
        _b.Syscall(SYS_madvise, Head(Ctl.WindowDropStart), Head(Ctl.WindowDropBytes), MADV_DONTNEED);
        _b.Place(ref noWindow);
        C.mov(__dword_ptr[r14 + Ctl.Done], 1);
        _b.Syscall(SYS_futex, Operand.AddressOf(Head(Ctl.Done)), FUTEX_WAKE, 1);
        // The daemon is on its way. A thread that runs stops at once; one that sleeps has to wait for its turn on the CPU.
        C.mov(ecx, SpinsAtEnd);
        _b.Place(ref spin);
        JumpIfOwnerDied(_leave);
        C.pause();
        C.dec(ecx);
        C.jne(spin);
        _b.Place(ref wait);
        C.mov(edx, __dword_ptr[r14 + Ctl.Mutex]);
        C.test(edx, FUTEX_OWNER_DIED);
        C.jne(_leave);
        _b.Syscall(SYS_futex, Operand.AddressOf(Head(Ctl.Mutex)), FUTEX_WAIT, rdx, 0);
        C.jmp(wait);
        _b.Place(ref _leave);
        C.jmp(r13);
    }

    /// <summary>A plain system call on the target's behalf: set-up, registration, tear-down.</summary>
    private void EmitCall()
    {
        AssemblerRegister64[] registers = [rdi, rsi, rdx, r10, r8, r9];
        _b.Place(ref _call);
        for (int i = 0; i < registers.Length; i++)
        {
            Label direct = _b.NewLabel();
            C.mov(registers[i], Field(Op.CallArguments + 8 * i));
            C.test(__dword_ptr[r12 + Op.CallIndirect], 1 << i);
            C.je(direct);
            // The argument is the header offset of the value, filled in by an earlier operation.
            C.mov(registers[i], __qword_ptr[r14 + registers[i]]);
            _b.Place(ref direct);
        }

        C.mov(rax, Field(Op.CallNumber));
        C.syscall();
        C.mov(Field(Op.CallResult), rax);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusDone);
        C.mov(rcx, Field(Op.CallResultTo));
        C.test(rcx, rcx);
        C.je(_opDone);
        C.mov(__qword_ptr[r14 + rcx], rax);
        C.jmp(_opDone);
    }

    /// <summary>ioctl(descriptor, UFFDIO_REGISTER) of [start + from, start + length) with a mode.</summary>
    private void Register(int descriptor, AssemblerRegister64? from, AssemblerRegister64? length, int mode)
    {
        C.mov(rax, Field(Op.Start));
        C.mov(rcx, length ?? rcx);
        if (length is null)
        {
            C.mov(rcx, Field(Op.Length));
        }

        if (from is { } f)
        {
            C.add(rax, f);
            C.sub(rcx, f);
        }

        C.mov(Head(Ctl.RegisterArgument), rax);
        C.mov(Head(Ctl.RegisterArgument + 8), rcx);
        C.mov(Head(Ctl.RegisterArgument + 16), mode);
        _b.Syscall(SYS_ioctl, Head(descriptor), UFFDIO_REGISTER, Operand.AddressOf(Head(Ctl.RegisterArgument)));
    }

    /// <summary>Keeps -rax as the operation's errno, with the stage it came from.</summary>
    private void Note(uint stage)
    {
        C.neg(rax);
        C.mov(Field(Op.Errno), rax);
        C.mov(__dword_ptr[r12 + Op.Stage], (int)stage);
    }

    /// <summary>Gate the run and move its pages to the shadow; r15 = bytes moved. Falls through when r15 is not 0.</summary>
    private void EmitGateAndMove()
    {
        Label gated = _b.NewLabel(), move = _b.NewLabel(), stuck = _b.NewLabel(), final = _b.NewLabel(), moved = _b.NewLabel();
        C.xor(ebx, ebx);
        C.xor(r15d, r15d);
        Register(Ctl.TrackingFd, null, null, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
        C.test(rax, rax);
        C.je(gated);
        Note(Op.StageGate);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusPartial);
        C.jmp(_opDone);

        _b.Place(ref gated);
        EmitNoteGated();
        C.mov(Head(Ctl.InShadow), 1);
        C.mov(Field(Op.DoneBytes), 10_000); // attempts, until it becomes the result
        _b.Place(ref move);
        C.mov(rax, Head(Ctl.Shadow));
        C.add(rax, Field(Op.ShadowOffset));
        C.add(rax, r15);
        C.mov(Head(Ctl.MoveArgument), rax);
        C.mov(rax, Field(Op.Start));
        C.add(rax, r15);
        C.mov(Head(Ctl.MoveArgument + 8), rax);
        C.mov(rax, Field(Op.Length));
        C.sub(rax, r15);
        C.mov(Head(Ctl.MoveArgument + 16), rax);
        C.mov(Head(Ctl.MoveArgument + 24), UFFDIO_MOVE_MODE_DONTWAKE);
        C.mov(Head(Ctl.MoveArgument + 32), 0);
        _b.Syscall(SYS_ioctl, Head(Ctl.TrackingFd), UFFDIO_MOVE, Operand.AddressOf(Head(Ctl.MoveArgument)));
        C.mov(rcx, Head(Ctl.MoveArgument + 32));
        C.test(rcx, rcx);
        C.jle(stuck);
        C.add(r15, rcx);
        C.cmp(r15, Field(Op.Length));
        C.jb(move);
        C.jmp(moved);

        _b.Place(ref stuck);
        C.cmp(rax, -EAGAIN);
        C.jne(final);
        C.dec(Field(Op.DoneBytes));
        C.je(final);
        _b.Syscall(SYS_sched_yield);
        C.jmp(move);
        _b.Place(ref final);
        Note(Op.StageMove);
        C.test(r15, r15);
        C.je(_openGate);
        _b.Place(ref moved);
        C.mov(rax, Field(Op.ShadowOffset));
        C.add(rax, r15);
        C.mov(Head(Ctl.ShadowUsed), rax);
    }

    /// <summary>Widens the range that is woken at the end of the window: one call for all gates.</summary>
    private void EmitNoteGated()
    {
        Label lower = _b.NewLabel(), higher = _b.NewLabel(), notLower = _b.NewLabel();
        C.mov(rax, Field(Op.Start));
        C.cmp(Head(Ctl.GatedTo), 0);
        C.je(lower);
        C.cmp(rax, Head(Ctl.GatedFrom));
        C.jae(notLower);
        _b.Place(ref lower);
        C.mov(Head(Ctl.GatedFrom), rax);
        _b.Place(ref notLower);
        C.add(rax, Field(Op.Length));
        C.cmp(rax, Head(Ctl.GatedTo));
        C.jbe(higher);
        C.mov(Head(Ctl.GatedTo), rax);
        _b.Place(ref higher);
    }

    private void EmitShare()
    {
        Label same = _b.NewLabel(), alive = _b.NewLabel();
        _b.Place(ref _share);
        EmitGateAndMove();
        C.mov(rsi, Head(Ctl.Shadow));
        C.add(rsi, Field(Op.ShadowOffset));
        C.call(_compareStore);
        C.cmp(rbx, r15);
        C.je(same);
        C.mov(Field(Op.Errno), 0);
        C.mov(__dword_ptr[r12 + Op.Stage], (int)Op.StageCompare);
        _b.Place(ref same);
        // The last look before the mapping changes: a dead daemon means everything goes back.
        C.test(__dword_ptr[r14 + Ctl.Mutex], FUTEX_OWNER_DIED);
        C.je(alive);
        C.xor(ebx, ebx);
        _b.Place(ref alive);
        C.call(_moveBack);
        C.test(rbx, rbx);
        C.je(_openGate);
        C.jmp(_mapStore);
    }

    /// <summary>All-zero pages are simply not moved back: the next read of the empty place maps the zero page.</summary>
    private void EmitZero()
    {
        Label page = _b.NewLabel(), words = _b.NewLabel(), done = _b.NewLabel(), alive = _b.NewLabel();
        _b.Place(ref _zero);
        EmitGateAndMove();
        C.mov(rsi, Head(Ctl.Shadow));
        C.add(rsi, Field(Op.ShadowOffset));
        _b.Place(ref page);
        C.mov(ecx, PageSize.Bytes / 64);
        _b.Place(ref words);
        C.mov(rax, __qword_ptr[rsi]);
        for (int i = 8; i < 64; i += 8)
        {
            C.or(rax, __qword_ptr[rsi + i]);
        }

        C.jne(done);
        C.add(rsi, 64);
        C.dec(ecx);
        C.jne(words);
        C.add(rbx, PageSize.Bytes);
        C.cmp(rbx, r15);
        C.jb(page);
        _b.Place(ref done);
        C.cmp(rbx, r15);
        Label same = _b.NewLabel();
        C.je(same);
        C.mov(Field(Op.Errno), 0);
        C.mov(__dword_ptr[r12 + Op.Stage], (int)Op.StageCompare);
        _b.Place(ref same);
        C.test(__dword_ptr[r14 + Ctl.Mutex], FUTEX_OWNER_DIED);
        C.je(alive);
        C.xor(ebx, ebx);
        _b.Place(ref alive);
        C.call(_moveBack);
        C.jmp(_openGate);
    }

    /// <summary>
    /// Pages inside a store mapping that a write made private: UFFDIO_MOVE does not take them, so they are compared in
    /// place. Only for targets without asynchronous writers (the daemon decides).
    /// </summary>
    private void EmitReshare()
    {
        _b.Place(ref _reshare);
        C.xor(ebx, ebx);
        C.mov(r15, Field(Op.Length));
        C.mov(rsi, Field(Op.Start));
        C.mov(Head(Ctl.InShadow), 0);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusPartial);
        C.call(_compareStore);
        C.mov(__dword_ptr[r12 + Op.Stage], (int)Op.StageCompare);
        C.mov(Field(Op.DoneBytes), 0);
        C.test(rbx, rbx);
        C.je(_opDone);
        JumpIfOwnerDied(_opDone);
        C.jmp(_mapStore);
    }

    /// <summary>Flags the old mapping had: bytes of the advice field are madvise values, lowest first, 0 ends.</summary>
    private void EmitAdvise()
    {
        Label next = _b.NewLabel(), done = _b.NewLabel();
        _b.Place(ref _advise);
        C.mov(r8, Field(Op.Advice));
        _b.Place(ref next);
        C.movzx(edx, r8b);
        C.test(edx, edx);
        C.je(done);
        _b.Syscall(SYS_madvise, Field(Op.Start), rbx, rdx);
        C.shr(r8, 8);
        C.jmp(next);
        _b.Place(ref done);
        C.ret();
    }

    /// <summary>
    /// For the way out: anonymous memory with the same bytes in place of a store mapping. Pages of zeros stay empty.
    /// The copy is made while all threads stand still; the mapping changes in one step (mremap).
    /// </summary>
    private void EmitConvert()
    {
        Label page = _b.NewLabel(), words = _b.NewLabel(), copy = _b.NewLabel(), next = _b.NewLabel(), failed = _b.NewLabel();
        Label made = _b.NewLabel();
        _b.Place(ref _convert);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusPartial);
        C.mov(rbx, Field(Op.Length));
        _b.Syscall(SYS_mmap, 0, rbx, Field(Op.Protection), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        C.cmp(rax, -4095);
        C.jae(failed);
        C.mov(r15, rax);
        C.xor(r8d, r8d);
        _b.Place(ref page);
        C.mov(rsi, Field(Op.Start));
        C.add(rsi, r8);
        C.mov(ecx, PageSize.Bytes / 64);
        _b.Place(ref words);
        C.mov(rax, __qword_ptr[rsi]);
        for (int i = 8; i < 64; i += 8)
        {
            C.or(rax, __qword_ptr[rsi + i]);
        }

        C.jne(copy);
        C.add(rsi, 64);
        C.dec(ecx);
        C.jne(words);
        C.jmp(next);
        _b.Place(ref copy);
        C.mov(rsi, Field(Op.Start));
        C.add(rsi, r8);
        C.lea(rdi, __[r15 + r8]);
        C.mov(ecx, PageSize.Bytes / 8);
        C.rep.movsq();
        _b.Place(ref next);
        C.add(r8, PageSize.Bytes);
        C.cmp(r8, rbx);
        C.jb(page);
        _b.Syscall(SYS_mremap, r15, rbx, rbx, MREMAP_MAYMOVE | MREMAP_FIXED, Field(Op.Start));
        C.cmp(rax, Field(Op.Start));
        C.je(made);
        C.mov(r8, rax);
        _b.Syscall(SYS_munmap, r15, rbx);
        C.mov(rax, r8);
        _b.Place(ref failed);
        Note(Op.StageMap);
        C.jmp(_opDone);
        _b.Place(ref made);
        C.call(_advise);
        C.mov(Field(Op.DoneBytes), rbx);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusDone);
        C.jmp(_opDone);
    }
}
