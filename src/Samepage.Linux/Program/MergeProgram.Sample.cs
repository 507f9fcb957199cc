using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;
using Ctl = Samepage.Linux.Program.ControlLayout;
using Op = Samepage.Linux.Program.OpLayout;
using Operand = Samepage.Linux.Program.CodeBuilder.Operand;

namespace Samepage.Linux.Program;

/// <content>
/// Samples of pages (<see cref="PageSampler"/>), read where they are. Nothing is changed; what could go wrong is that a page
/// is not there any more. All threads stand still, so it is enough to ask once per run whether it is mapped. What
/// that does not see (memory without any access, a page the host has lost) is a fault of this program: the
/// daemon takes the signal and goes on at <see cref="FaultEntry"/>. Since all signals are blocked, the kernel has then
/// set the program's own handler back to the default, so that handler is kept beforehand and put back.
/// </content>
internal sealed partial class MergeProgram
{
    /// <summary>How far ahead lines are asked for: a line from memory takes as long as four pages' arithmetic.</summary>
    private const int SamplePrefetchBytes = 16 * PageSize.Bytes;

    private const int SIGBUS = 7, SIGSEGV = 11;

    private Label _sample, _sampleFault, _sampleEnded;

    /// <summary>
    /// Start: number of runs. While it runs: rbx = pages done, r15 = run, rsi = page, rdi = pages left of the run, r10
    /// and r11 = offsets of the two lines.
    /// </summary>
    private void EmitSample()
    {
        Label run = _b.NewLabel(), page = _b.NewLabel(), skip = _b.NewLabel(), next = _b.NewLabel(), done = _b.NewLabel();
        _b.Place(ref _sample);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusPartial);
        C.xor(ebx, ebx);
        EachAction((signal, saved) => _b.Syscall(SYS_rt_sigaction, signal, 0, Operand.AddressOf(Head(saved)), 8));
        C.lea(r15, __[r14 + Ctl.SampleRuns]);
        C.mov(rax, Field(Op.Start));
        C.shl(rax, 4);
        C.add(rax, r15);
        C.mov(Field(Op.StoreOffset), rax);

        _b.Place(ref run);
        C.cmp(r15, Field(Op.StoreOffset));
        C.jae(done);
        JumpIfOwnerDied(_opDone);
        C.mov(rsi, __qword_ptr[r15 + 8]);
        C.shl(rsi, PageSize.Shift);
        _b.Syscall(SYS_msync, __qword_ptr[r15], rsi, MS_ASYNC);
        C.mov(rsi, __qword_ptr[r15]);
        C.mov(rdi, __qword_ptr[r15 + 8]);
        C.test(rax, rax);
        C.jne(skip);
        C.mov(r10, Head(Ctl.SampleOffsets));
        C.mov(r11, Head(Ctl.SampleOffsets + 8));

        _b.Place(ref page);
        // With the daemon dead the other threads run again, and what they unmap must not be touched.
        JumpIfOwnerDied(_opDone);
        C.prefetcht0(__byte_ptr[rsi + r10 + SamplePrefetchBytes]);
        C.prefetcht0(__byte_ptr[rsi + r11 + SamplePrefetchBytes]);
        EmitSampleHash();
        C.mov(__qword_ptr[r14 + rbx * 8 + Ctl.SampleResults], rax);
        C.inc(rbx);
        C.add(rsi, PageSize.Bytes);
        C.dec(rdi);
        C.jne(page);
        _b.Place(ref next);
        C.add(r15, 16);
        C.jmp(run);

        _b.Place(ref skip);
        C.mov(__qword_ptr[r14 + rbx * 8 + Ctl.SampleResults], 0);
        C.inc(rbx);
        C.dec(rdi);
        C.jne(skip);
        C.jmp(next);

        _b.Place(ref done);
        C.mov(__dword_ptr[r12 + Op.Status], (int)Op.StatusDone);
        C.mov(Field(Op.DoneBytes), rbx);
        C.jmp(_opDone);

        _b.Place(ref _sampleFault);
        EachAction((signal, saved) => _b.Syscall(SYS_rt_sigaction, signal, Operand.AddressOf(Head(saved)), 0, 8));
        _b.Place(ref _sampleEnded);
        C.mov(Field(Op.DoneBytes), rbx);
        C.jmp(_opDone);
    }

    /// <summary>rax = <see cref="PageSampler.Sample"/> of the page at rsi.</summary>
    private void EmitSampleHash()
    {
        const int wordsPerLine = PageSampler.LineBytes / sizeof(ulong);
        C.xor(r8d, r8d);
        C.xor(r9d, r9d);
        for (int word = 0; word < PageSampler.Lines * wordsPerLine; word += 2)
        {
            AssemblerRegister64 line = word < wordsPerLine ? r10 : r11;
            int at = word % wordsPerLine * sizeof(ulong);
            C.mov(rax, __qword_ptr[rsi + line + at]);
            C.mov(rcx, __qword_ptr[rsi + line + (at + sizeof(ulong))]);
            C.xor(rax, Head(Ctl.SampleKey + (word * sizeof(ulong))));
            C.xor(rcx, Head(Ctl.SampleKey + ((word + 1) * sizeof(ulong))));
            C.mul(rcx);
            C.add(r8, rax);
            C.add(r9, rdx);
        }

        C.mov(rax, r8);
        C.xor(rax, Head(Ctl.SampleKey + ((PageSampler.KeyWords - 2) * sizeof(ulong))));
        C.xor(r9, Head(Ctl.SampleKey + ((PageSampler.KeyWords - 1) * sizeof(ulong))));
        C.mul(r9);
        C.xor(rax, rdx);
    }

    /// <summary>The two signals a fault may be, each with where its action is kept.</summary>
    private static void EachAction(Action<int, int> emit)
    {
        emit(SIGSEGV, Ctl.SampleActions);
        emit(SIGBUS, Ctl.SampleActions + 32);
    }
}
