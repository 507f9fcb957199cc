using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.KsmCalls;
using static Samepage.Linux.Interop.Seccomp;
using static Samepage.Linux.Interop.SeccompNotify;

namespace Samepage.Linux.Interception;

/// <summary>
/// The system call filter of <c>samepage run</c>: hands KSM's calls to the daemon and lets everything else through.
/// Only numbers are looked at, never memory, so nothing can be changed between the look and the call. KSM's calls of
/// 32-bit and x32 programs, which are not merged, fail with EINVAL, as on a kernel without KSM.
/// </summary>
internal static class RunFilter
{
    /// <summary>What all of KSM's ioctl numbers have in their second byte.</summary>
    internal const uint DeviceMagic = 0xAB00, DeviceMagicMask = 0xff00;

    // Numbers of the 32-bit table (arch/x86/entry/syscalls/syscall_32.tbl).
    private const int Madvise32 = 219, Prctl32 = 172;
    private const uint X32Bit = 0x40000000;
    private const int BPF_AND_K = BPF_ALU | BPF_AND | BPF_K;
    private const int DataNumber = 0, DataArch = 4, DataArguments = 16;

    /// <summary>Installs the filter on the calling thread; what this thread executes or forks inherits it.</summary>
    /// <param name="device">Also hand over the ioctls of /dev/ksm.</param>
    /// <param name="errno">0; EBUSY when there is such a filter already (nested runs), or why it failed.</param>
    /// <returns>The listener, close-on-exec; null on failure.</returns>
    internal static unsafe SafeFileHandle? Install(bool device, out int errno)
    {
        byte[] program = Program(device);
        fixed (byte* instructions = program)
        {
            // SAFETY: struct sock_fprog: a count and, after padding, the pinned program.
            ulong* header = stackalloc ulong[2];
            header[0] = (ulong)program.Length / 8;
            header[1] = (ulong)instructions;
            long descriptor = Set(header);
            if (descriptor < 0 && Errno.Last == Errno.EACCES)
            {
                // Whoever may not administrate the system has to give up gaining privileges by set-user-id programs.
                Libc.Check(Libc.syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1), "prctl(PR_SET_NO_NEW_PRIVS)");
                descriptor = Set(header);
            }

            errno = descriptor < 0 ? Errno.Last : 0;
            return descriptor < 0 ? null : new SafeFileHandle((nint)descriptor, ownsHandle: true);
        }
    }

    /// <summary>The filter as an array of struct sock_filter.</summary>
    internal static byte[] Program(bool device)
    {
        var code = new Assembler();
        code.Load(DataArch).JumpIf(AUDIT_ARCH_X86_64, "x86-64").JumpIf(AUDIT_ARCH_I386, "i386").Go("allow");
        code.Label("x86-64").Load(DataNumber).JumpIfSet(X32Bit, "x32")
            .JumpIf(SYS_madvise, "madvise").JumpIf(SYS_prctl, "prctl").JumpIf(SYS_process_madvise, "process_madvise");
        if (device)
        {
            code.JumpIf(SYS_ioctl, "ioctl");
        }

        code.Go("allow");
        code.Label("madvise").LoadArgument(2).JumpIf(MADV_MERGEABLE, "ask").JumpIf(MADV_UNMERGEABLE, "ask").Go("allow");
        code.Label("prctl").LoadArgument(0)
            .JumpIf(PR_SET_MEMORY_MERGE, "ask").JumpIf(PR_GET_MEMORY_MERGE, "ask").Go("allow");
        code.Label("process_madvise").LoadArgument(3)
            .JumpIf(MADV_MERGEABLE, "refuse").JumpIf(MADV_UNMERGEABLE, "refuse").Go("allow");
        if (device)
        {
            code.Label("ioctl").LoadArgument(1).And(DeviceMagicMask).JumpIf(DeviceMagic, "ask").Go("allow");
        }

        code.Label("x32").And(~X32Bit)
            .JumpIf(SYS_madvise, "other madvise").JumpIf(SYS_prctl, "other prctl").Go("allow");
        code.Label("i386").Load(DataNumber)
            .JumpIf(Madvise32, "other madvise").JumpIf(Prctl32, "other prctl").Go("allow");
        code.Label("other madvise").LoadArgument(2)
            .JumpIf(MADV_MERGEABLE, "refuse").JumpIf(MADV_UNMERGEABLE, "refuse").Go("allow");
        code.Label("other prctl").LoadArgument(0)
            .JumpIf(PR_SET_MEMORY_MERGE, "refuse").JumpIf(PR_GET_MEMORY_MERGE, "refuse").Go("allow");
        code.Label("ask").Return(SECCOMP_RET_USER_NOTIF);
        code.Label("refuse").Return(SECCOMP_RET_ERRNO | Errno.EINVAL);
        code.Label("allow").Return(SECCOMP_RET_ALLOW);
        return code.Assemble();
    }

    // Once a call is taken, its caller waits without minding signals: KSM's calls are never interrupted either.
    private static unsafe long Set(ulong* header) => Libc.syscall(
        SYS_seccomp,
        SECCOMP_SET_MODE_FILTER,
        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        (nint)header);

    /// <summary>Classic BPF with names for the places that are jumped to; all jumps go forward.</summary>
    private sealed class Assembler
    {
        private readonly List<(int Code, uint Operand, string? Target)> _instructions = [];
        private readonly Dictionary<string, int> _labels = [];

        internal Assembler Label(string name)
        {
            _labels.Add(name, _instructions.Count);
            return this;
        }

        internal Assembler Load(int offset) => Add(BPF_LD | BPF_W | BPF_ABS, (uint)offset);

        /// <summary>The low half of an argument: advice, options and ioctl numbers have 32 bits.</summary>
        internal Assembler LoadArgument(int index) => Load(DataArguments + (8 * index));

        internal Assembler And(uint mask) => Add(BPF_AND_K, mask);

        internal Assembler JumpIf(uint value, string target) => Add(BPF_JMP | BPF_JEQ | BPF_K, value, target);

        internal Assembler JumpIf(int value, string target) => JumpIf((uint)value, target);

        internal Assembler JumpIfSet(uint bits, string target) => Add(BPF_JMP | BPF_JSET | BPF_K, bits, target);

        internal Assembler Go(string target) => Add(BPF_JMP | BPF_JA, 0, target);

        internal Assembler Return(uint value) => Add(BPF_RET | BPF_K, value);

        internal byte[] Assemble()
        {
            var bytes = new byte[_instructions.Count * 8];
            for (int i = 0; i < _instructions.Count; i++)
            {
                (int code, uint operand, string? target) = _instructions[i];
                int distance = target is null ? 0 : _labels[target] - i - 1;
                bool always = code == (BPF_JMP | BPF_JA);
                Span<byte> at = bytes.AsSpan(8 * i);
                MemoryMarshal.Write(at, (ushort)code);
                at[2] = always ? (byte)0 : checked((byte)distance);
                MemoryMarshal.Write(at[4..], always ? (uint)distance : operand);
            }

            return bytes;
        }

        private Assembler Add(int code, uint operand, string? target = null)
        {
            _instructions.Add((code, operand, target));
            return this;
        }
    }
}
