namespace Samepage.Linux.Interop;

/// <summary>linux/seccomp.h, linux/filter.h, linux/bpf_common.h: classic BPF as seccomp filters use it.</summary>
internal static class Seccomp
{
    internal const uint SECCOMP_RET_KILL_PROCESS = 0x80000000;
    internal const uint SECCOMP_RET_KILL_THREAD = 0;
    internal const uint SECCOMP_RET_TRAP = 0x00030000;
    internal const uint SECCOMP_RET_ERRNO = 0x00050000;
    internal const uint SECCOMP_RET_USER_NOTIF = 0x7fc00000;
    internal const uint SECCOMP_RET_TRACE = 0x7ff00000;
    internal const uint SECCOMP_RET_LOG = 0x7ffc0000;
    internal const uint SECCOMP_RET_ALLOW = 0x7fff0000;
    internal const uint SECCOMP_RET_ACTION_FULL = 0xffff0000;
    internal const uint SECCOMP_RET_DATA = 0x0000ffff;

    internal const uint AUDIT_ARCH_X86_64 = 0xc000003e;

    internal const int BPF_LD = 0x00;
    internal const int BPF_LDX = 0x01;
    internal const int BPF_ST = 0x02;
    internal const int BPF_STX = 0x03;
    internal const int BPF_ALU = 0x04;
    internal const int BPF_JMP = 0x05;
    internal const int BPF_RET = 0x06;
    internal const int BPF_MISC = 0x07;
    internal const int BPF_W = 0x00;
    internal const int BPF_IMM = 0x00;
    internal const int BPF_ABS = 0x20;
    internal const int BPF_MEM = 0x60;
    internal const int BPF_LEN = 0x80;
    internal const int BPF_ADD = 0x00;
    internal const int BPF_SUB = 0x10;
    internal const int BPF_MUL = 0x20;
    internal const int BPF_DIV = 0x30;
    internal const int BPF_OR = 0x40;
    internal const int BPF_AND = 0x50;
    internal const int BPF_LSH = 0x60;
    internal const int BPF_RSH = 0x70;
    internal const int BPF_NEG = 0x80;
    internal const int BPF_XOR = 0xa0;
    internal const int BPF_JA = 0x00;
    internal const int BPF_JEQ = 0x10;
    internal const int BPF_JGT = 0x20;
    internal const int BPF_JGE = 0x30;
    internal const int BPF_JSET = 0x40;
    internal const int BPF_K = 0x00;
    internal const int BPF_X = 0x08;
    internal const int BPF_A = 0x10;
    internal const int BPF_TAX = 0x00;
    internal const int BPF_TXA = 0x80;
    internal const int BPF_MEMWORDS = 16;
    internal const int BPF_MAXINSNS = 4096;
}
