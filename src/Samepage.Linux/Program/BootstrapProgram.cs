using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;
using Ctl = Samepage.Linux.Program.ControlLayout;
using Operand = Samepage.Linux.Program.CodeBuilder.Operand;

namespace Samepage.Linux.Program;

/// <summary>
/// The first code a target runs for us: it makes a socket pair, receives the control memfd, the store and
/// /dev/userfaultfd over it, maps the control area and goes on in the merge program. It lives in the zero padding at the end
/// of the vDSO (or of another executable mapping), together with the thread's saved context, for half a millisecond.
/// <para>
/// No names are used, so mount and network namespaces, chroot and user id of the target do not matter. The daemon finds
/// the descriptors in /proc/PID/task/TID/syscall while the thread is blocked in recvmsg: its arguments are
/// (descriptor, message, flags, other end, <see cref="Mark"/>). If the daemon dies, recvmsg ends and the thread restores itself.
/// </para>
/// </summary>
internal sealed record BootstrapProgram(byte[] Image, int Entry, int ContextOffset)
{
    /// <summary>Fifth argument of recvmsg, by which the daemon knows that the thread has come that far.</summary>
    public const long Mark = 0x5A9E9A6E;

    private const int Pair = 0, Message = 64, Vector = 128, Data = 256, ControlMessage = 512;
    private const int AF_UNIX = 1, SOCK_STREAM_CLOEXEC = 1 | 0x80000, MSG_CMSG_CLOEXEC = 0x40000000;

    private static readonly Lazy<BootstrapProgram> Instance = new(Build);

    /// <summary>The program with room for the context at <see cref="ContextOffset"/> (a slot of <see cref="SlotLayout"/>).</summary>
    public static BootstrapProgram Current => Instance.Value;

    private static BootstrapProgram Build()
    {
        // The context follows the code at a fixed place, so that its address is known while assembling.
        const int contextOffset = 704;
        const ulong assumedBase = 0x10_0000;
        var b = new CodeBuilder();
        Assembler c = b.C;
        Label entry = b.NewLabel(), restore = b.NewLabel(), unmap = b.NewLabel(), close = b.NewLabel();
        Label receive = b.NewLabel();
        b.Place(ref entry);
        c.cld();
        b.Syscall(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        c.cmp(rax, -4095);
        c.jae(restore);
        c.mov(rbx, rax);
        b.Syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM_CLOEXEC, 0, rbx);
        c.test(rax, rax);
        c.jne(unmap);
        c.mov(r12d, __dword_ptr[rbx]);
        c.mov(r13d, __dword_ptr[rbx + 4]);
        c.lea(rax, __[rbx + Vector]);
        c.mov(__qword_ptr[rbx + Message + 16], rax);
        c.mov(__qword_ptr[rbx + Message + 24], 1);
        c.lea(rcx, __[rbx + Data]);
        c.mov(__qword_ptr[rax], rcx);
        c.mov(__qword_ptr[rax + 8], 64);
        c.lea(rax, __[rbx + ControlMessage]);
        c.mov(__qword_ptr[rbx + Message + 32], rax);
        c.mov(__qword_ptr[rbx + Message + 40], 64);
        b.Place(ref receive);
        b.Syscall(SYS_recvmsg, r12, Operand.AddressOf(__qword_ptr[rbx + Message]), MSG_CMSG_CLOEXEC, r13, Mark);
        c.cmp(rax, -EINTR);
        c.je(receive);
        c.test(rax, rax);
        c.jle(close);
        // Received: data = total bytes, code offset, code bytes; descriptors = control, store, /dev/userfaultfd.
        c.mov(r15d, __dword_ptr[rbx + ControlMessage + 16]);
        b.Syscall(SYS_mmap, 0, __qword_ptr[rbx + Data], PROT_READ | PROT_WRITE, MAP_SHARED, r15, 0);
        c.cmp(rax, -4095);
        c.jae(close);
        c.mov(r14, rax);
        c.mov(rdi, r14);
        c.add(rdi, __qword_ptr[rbx + Data + 8]);
        b.Syscall(SYS_mprotect, rdi, __qword_ptr[rbx + Data + 16], PROT_READ | PROT_EXEC);
        c.test(rax, rax);
        c.jne(close);
        c.mov(__qword_ptr[r14 + Ctl.ReceivedControl], r15);
        c.mov(eax, __dword_ptr[rbx + ControlMessage + 20]);
        c.mov(__qword_ptr[r14 + Ctl.ReceivedStore], rax);
        c.mov(eax, __dword_ptr[rbx + ControlMessage + 24]);
        c.mov(__qword_ptr[r14 + Ctl.ReceivedDevice], rax);
        c.mov(rbp, __qword_ptr[rbx + Data + 24]);
        c.mov(r15, __qword_ptr[rbx + Data + 32]);
        b.Syscall(SYS_close, r12);
        b.Syscall(SYS_close, r13);
        b.Syscall(SYS_munmap, rbx, 4096);
        // On in the merge program, which has the context in a slot too: r13 = stub, rbp = entry offset.
        c.mov(__qword_ptr[r14 + Ctl.Base], r14);
        c.lea(r13, __[r14 + r15]);
        c.lea(rsp, __[r14 + Ctl.StackTop]);
        c.add(rbp, r14);
        c.jmp(rbp);

        b.Place(ref close);
        b.Syscall(SYS_close, r12);
        b.Syscall(SYS_close, r13);
        b.Place(ref unmap);
        b.Syscall(SYS_munmap, rbx, 4096);
        b.Place(ref restore);
        // The context lies in memory the thread cannot write: the daemon has worked out the restart of an interrupted
        // call already (RestoreStub does it in place).
        RestoreStub.EmitLoad(b, assumedBase + contextOffset);
        Span<int> offsets = stackalloc int[1];
        byte[] code = b.Assemble(assumedBase, [entry], offsets);
        if (code.Length > contextOffset)
        {
            throw new InvalidOperationException($"the bootstrap has {code.Length} bytes, room is for {contextOffset}");
        }

        byte[] image = new byte[contextOffset + SlotLayout.State];
        code.CopyTo(image, 0);
        return new BootstrapProgram(image, offsets[0], contextOffset);
    }
}
