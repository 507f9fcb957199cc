using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;
using Ctl = Samepage.Linux.Program.ControlLayout;
using Op = Samepage.Linux.Program.OpLayout;
using Operand = Samepage.Linux.Program.CodeBuilder.Operand;

namespace Samepage.Linux.Program;

/// <content>The steps that operations share: mapping the store, undoing it, comparing, moving back, opening the gate.</content>
internal sealed partial class MergeProgram
{
    /// <summary>Map the store over the first rbx bytes of the run, fill the page table, hand the mapping to the keeper.</summary>
    private void EmitMapStore()
    {
        Label failed = _b.NewLabel(), noBit = _b.NewLabel();
        _b.Place(ref _mapStore);
        _b.Syscall(SYS_mmap, Field(Op.Start), rbx, Field(Op.Protection), MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
            Head(Ctl.StoreFd), Field(Op.StoreOffset));
        C.cmp(rax, Field(Op.Start));
        C.jne(failed);
        _b.Syscall(SYS_madvise, Field(Op.Start), rbx, MADV_POPULATE_READ);
        C.mov(ecx, (int)Op.StagePopulate);
        C.test(rax, rax);
        C.jne(_undoMap);

        C.call(_advise);
        Register(Ctl.MergedFd, null, rbx,
            UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MINOR);
        C.mov(ecx, (int)Op.StageRegister);
        C.test(rax, rax);
        C.jne(_undoMap);
        C.jmp(_openGate);

        _b.Place(ref failed);
        Note(Op.StageMap);
        C.cmp(Head(Ctl.InShadow), 0);
        C.je(noBit);
        C.mov(r15, rbx);
        C.xor(ebx, ebx);
        C.call(_moveBack);
        C.jmp(_openGate);
        _b.Place(ref noBit);
        C.xor(ebx, ebx);
        C.jmp(_openGate);
    }

    /// <summary>The mapping is there but not complete (rax = error, ecx = stage): put anonymous memory and the originals back.</summary>
    private void EmitUndoMap()
    {
        Label again = _b.NewLabel(), inPlace = _b.NewLabel(), mapped = _b.NewLabel();
        _b.Place(ref _undoMap);
        C.neg(rax);
        C.mov(Field(Op.Errno), rax);
        C.mov(__dword_ptr[r12 + Op.Stage], ecx);
        C.cmp(Head(Ctl.InShadow), 0);
        C.je(inPlace);
        _b.Place(ref again);
        _b.Syscall(SYS_mmap, Field(Op.Start), rbx, Field(Op.Protection),
            MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | MAP_ANONYMOUS, -1, 0);
        C.cmp(rax, Field(Op.Start));
        C.je(mapped);
        _b.Syscall(SYS_sched_yield);
        C.jmp(again);
        _b.Place(ref mapped);
        Register(Ctl.TrackingFd, null, rbx, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
        C.mov(r15, rbx);
        C.xor(ebx, ebx);
        C.call(_moveBack);
        C.jmp(_openGate);
        _b.Place(ref inPlace);
        // Store bytes equal the old ones, so nothing is lost; give the target private copies, the daemon reports it.
        _b.Syscall(SYS_madvise, Field(Op.Start), rbx, MADV_POPULATE_WRITE);
        C.xor(ebx, ebx);
        C.jmp(_openGate);
    }

    /// <summary>rbx = how many bytes (whole pages) at rsi equal the store at the operation's offset, at most r15.</summary>
    private void EmitCompareStore()
    {
        Label page = _b.NewLabel(), words = _b.NewLabel(), done = _b.NewLabel(), near = _b.NewLabel();
        _b.Place(ref _compareStore);
        C.mov(r8, r15);
        C.mov(rdi, Head(Ctl.Window));
        C.add(rdi, Field(Op.StoreOffset));
        C.xor(ebx, ebx);
        _b.Place(ref page);
        C.mov(ecx, PageSize.Bytes / 64);
        _b.Place(ref words);
        // Both streams come from memory, and the hardware's prefetcher stops at every page border. Not beyond the run:
        // behind a lone page that would be half as much memory again, for nothing.
        C.cmp(r8, PrefetchBytes);
        C.jbe(near);
        C.prefetcht0(__byte_ptr[rsi + PrefetchBytes]);
        C.prefetcht0(__byte_ptr[rdi + PrefetchBytes]);
        _b.Place(ref near);
        C.sub(r8, 64);
        C.mov(rax, __qword_ptr[rsi]);
        C.xor(rax, __qword_ptr[rdi]);
        for (int i = 8; i < 64; i += 8)
        {
            C.mov(rdx, __qword_ptr[rsi + i]);
            C.xor(rdx, __qword_ptr[rdi + i]);
            C.or(rax, rdx);
        }

        C.test(rax, rax);
        C.jne(done);
        C.add(rsi, 64);
        C.add(rdi, 64);
        C.dec(ecx);
        C.jne(words);
        C.add(rbx, PageSize.Bytes);
        C.cmp(rbx, r15);
        C.jb(page);
        _b.Place(ref done);
        C.ret();
    }

    /// <summary>Moves bytes [rbx, r15) of the shadow back to the run, however long it takes.</summary>
    private void EmitMoveBack()
    {
        Label again = _b.NewLabel(), done = _b.NewLabel(), stuck = _b.NewLabel();
        _b.Place(ref _moveBack);
        C.mov(r8, rbx);
        _b.Place(ref again);
        C.cmp(r8, r15);
        C.jae(done);
        C.mov(rax, Field(Op.Start));
        C.add(rax, r8);
        C.mov(Head(Ctl.MoveArgument), rax);
        C.mov(rax, Head(Ctl.Shadow));
        C.add(rax, Field(Op.ShadowOffset));
        C.add(rax, r8);
        C.mov(Head(Ctl.MoveArgument + 8), rax);
        C.mov(rax, r15);
        C.sub(rax, r8);
        C.mov(Head(Ctl.MoveArgument + 16), rax);
        C.mov(Head(Ctl.MoveArgument + 24), UFFDIO_MOVE_MODE_DONTWAKE);
        C.mov(Head(Ctl.MoveArgument + 32), 0);
        _b.Syscall(SYS_ioctl, Head(Ctl.TrackingFd), UFFDIO_MOVE, Operand.AddressOf(Head(Ctl.MoveArgument)));
        C.mov(rcx, Head(Ctl.MoveArgument + 32));
        C.test(rcx, rcx);
        C.jle(stuck);
        C.add(r8, rcx);
        C.jmp(again);
        _b.Place(ref stuck);
        // The pages have no other home: there is nothing to do but try again.
        _b.Syscall(SYS_sched_yield);
        C.jmp(again);
        _b.Place(ref done);
        C.mov(Head(Ctl.InShadow), 0);
        C.ret();
    }

    /// <summary>Result of the operation, tracking without a gate for what is not mapped from the store. Who waited is woken at
    /// the end of the window.</summary>
    private void EmitOpenGate()
    {
        Label whole = _b.NewLabel(), result = _b.NewLabel(), isZero = _b.NewLabel(), open = _b.NewLabel();
        _b.Place(ref _openGate);
        C.mov(Field(Op.DoneBytes), rbx);
        C.mov(Head(Ctl.InShadow), 0);
        C.cmp(__dword_ptr[r12 + Op.Kind], (int)Op.KindReshare);
        C.je(result);
        C.xor(r8d, r8d);
        C.cmp(__dword_ptr[r12 + Op.Kind], (int)Op.KindZero);
        C.je(isZero);
        C.mov(r8, rbx);
        _b.Place(ref isZero);
        C.cmp(r8, Field(Op.Length));
        C.jae(open);
        // Registering with fewer modes changes nothing (the kernel finds the mode wanted already there), so: off and on.
        C.mov(rax, Field(Op.Start));
        C.add(rax, r8);
        C.mov(Head(Ctl.WakeArgument), rax);
        C.mov(rax, Field(Op.Length));
        C.sub(rax, r8);
        C.mov(Head(Ctl.WakeArgument + 8), rax);
        _b.Syscall(SYS_ioctl, Head(Ctl.TrackingFd), UFFDIO_UNREGISTER, Operand.AddressOf(Head(Ctl.WakeArgument)));
        Register(Ctl.TrackingFd, r8, null, UFFDIO_REGISTER_MODE_WP);
        _b.Place(ref open);
        _b.Place(ref result);
        C.cmp(rbx, Field(Op.Length));
        C.je(whole);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusPartial);
        C.jmp(_opDone);
        _b.Place(ref whole);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusDone);
        C.jmp(_opDone);
    }

    /// <summary>The program itself faulted (it can only be at a compare): undo the operation it is at.</summary>
    private void EmitFault()
    {
        _b.Place(ref _fault);
        C.lea(rsp, __[r14 + Ctl.StackTop]);
        C.cmp(__dword_ptr[r12 + Op.Kind], (int)Op.KindSample);
        C.je(_sampleFault);
        C.mov(eax, -EFAULT);
        C.movsxd(rax, eax);
        Note(Op.StageCompare);
        C.xor(ebx, ebx);
        C.cmp(Head(Ctl.InShadow), 0);
        C.je(_openGate);
        C.call(_moveBack);
        C.jmp(_openGate);
    }
}
