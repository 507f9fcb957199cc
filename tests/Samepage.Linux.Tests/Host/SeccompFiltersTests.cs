using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Samepage.Linux.Host;
using Samepage.Linux.Proc;
using Samepage.Linux.Tracing;
using static Samepage.Linux.Interop.Seccomp;

namespace Samepage.Linux.Tests.Host;

public class SeccompFiltersTests
{
    private const int LoadNumber = 0, LoadArchitecture = 4, LoadFirstArgument = 16;
    private static readonly SeccompCall Mmap = new("mmap", 9, 0x1000, 4096, 3, 0x12, 5, 0x7_0000_2000);
    private static readonly SeccompCall Ioctl = new("ioctl", 16, 7, 0xc028aa05, 0);

    /// <summary>The shape systemd and containers use: check the architecture, then a list of numbers.</summary>
    [Fact]
    public void AnAllowListAllowsWhatItListsAndKillsTheRest()
    {
        SeccompFilters filters = new([Filter(
            (BPF_LD | BPF_W | BPF_ABS, 0, 0, LoadArchitecture),
            (BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64),
            (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS),
            (BPF_LD | BPF_W | BPF_ABS, 0, 0, LoadNumber),
            (BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 9),
            (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
            (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS))]);
        Assert.True(filters.Judge(Mmap).IsAllowed);
        Assert.Equal("kills the process", filters.Judge(Ioctl).ToString());
        Assert.Equal("ioctl", filters.FirstRefused([Mmap, Ioctl])!.Value.Call.Name);
        Assert.Null(filters.FirstRefused([Mmap]));
    }

    /// <summary>What systemd's MemoryDenyWriteExecute does: nothing may become executable.</summary>
    private static byte[] NothingExecutable => Filter(
        (BPF_LD | BPF_W | BPF_ABS, 0, 0, LoadNumber),
        (BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 10),
        (BPF_LD | BPF_W | BPF_ABS, 0, 0, LoadFirstArgument + 16),
        (BPF_JMP | BPF_JSET | BPF_K, 0, 1, 4),
        (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | 1),
        (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW));

    [Fact]
    public void TheGateNamesTheCallThatAFilterWouldRefuse()
    {
        using Puppet puppet = Puppet.Start();
        using ProcReader proc = ProcReader.TryOpen(puppet.Pid)!;
        byte[] everything = Filter((BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW));
        SeccompGate.Check(proc, []);
        puppet.Expect("filter");
        SeccompGate.Check(proc, [everything]);
        TargetException unread = Assert.Throws<TargetException>(() => SeccompGate.Check(proc, []));
        Assert.Contains("cannot be read", unread.Message, StringComparison.Ordinal);
        TargetException refused = Assert.Throws<TargetException>(() => SeccompGate.Check(proc, [NothingExecutable]));
        Assert.Equal(TargetError.Refused, refused.Error);
        Assert.Contains("mprotect(executable) fails with error 1", refused.Message, StringComparison.Ordinal);
        puppet.Expect("filter");
        Assert.Throws<TargetException>(() => SeccompGate.Check(proc, [everything]));
        SeccompGate.Check(proc, [everything, everything]);
    }

    [Theory]
    [InlineData(0, 7ul, true)]
    [InlineData(1, 0xc028aa05ul, true)]
    [InlineData(1, 0xc028aa06ul, false)]
    [InlineData(1, 0x1c028aa05ul, false)]
    public void AnArgumentIsComparedInBothHalves(int argument, ulong value, bool same)
    {
        uint offset = (uint)(LoadFirstArgument + 8 * argument);
        SeccompFilters filters = new([Filter(
            (BPF_LD | BPF_W | BPF_ABS, 0, 0, offset + 4),
            (BPF_JMP | BPF_JEQ | BPF_K, 0, 3, (uint)(value >> 32)),
            (BPF_LD | BPF_W | BPF_ABS, 0, 0, offset),
            (BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint)value),
            (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
            (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | 1))]);
        Assert.Equal(same, filters.Judge(Ioctl).IsAllowed);
    }

    [Theory]
    [InlineData(SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_LOG)]
    [InlineData(SECCOMP_RET_ERRNO | 38, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | 38)]
    [InlineData(SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_USER_NOTIF)]
    [InlineData(SECCOMP_RET_USER_NOTIF, SECCOMP_RET_ERRNO | 1, SECCOMP_RET_ERRNO | 1)]
    [InlineData(SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO, SECCOMP_RET_TRAP)]
    [InlineData(SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_KILL_THREAD)]
    [InlineData(SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_KILL_PROCESS)]
    public void TheStrictestFilterDecides(uint one, uint other, uint expected)
    {
        byte[] first = Filter((BPF_RET | BPF_K, 0, 0, one)), second = Filter((BPF_RET | BPF_K, 0, 0, other));
        Assert.Equal(expected, new SeccompFilters([first, second]).Judge(Mmap).Action);
        Assert.Equal(expected, new SeccompFilters([second, first]).Judge(Mmap).Action);
    }

    [Theory]
    [InlineData(BPF_ADD, 7u, 5u, 12u)]
    [InlineData(BPF_SUB, 5u, 7u, 0xfffffffeu)]
    [InlineData(BPF_MUL, 0x10000u, 0x10001u, 0x10000u)]
    [InlineData(BPF_DIV, 22u, 7u, 3u)]
    [InlineData(BPF_AND, 0xf0f0u, 0xff00u, 0xf000u)]
    [InlineData(BPF_OR, 0xf0f0u, 0x0f00u, 0xfff0u)]
    [InlineData(BPF_XOR, 0xffu, 0x0fu, 0xf0u)]
    [InlineData(BPF_LSH, 1u, 31u, 0x80000000u)]
    [InlineData(BPF_RSH, 0x80000000u, 31u, 1u)]
    public void ArithmeticIsThatOf32BitWords(int operation, uint a, uint b, uint expected)
    {
        Assert.Equal(expected, Returned(
            (BPF_LD | BPF_IMM, 0, 0, a), (BPF_ALU | operation | BPF_K, 0, 0, b), (BPF_RET | BPF_A, 0, 0, 0)));
        Assert.Equal(expected, Returned(
            (BPF_LD | BPF_IMM, 0, 0, b), (BPF_ST, 0, 0, 3), (BPF_LDX | BPF_MEM, 0, 0, 3), (BPF_LD | BPF_IMM, 0, 0, a),
            (BPF_ALU | operation | BPF_X, 0, 0, 0), (BPF_MISC | BPF_TAX, 0, 0, 0), (BPF_STX, 0, 0, 15),
            (BPF_LD | BPF_MEM, 0, 0, 15), (BPF_RET | BPF_A, 0, 0, 0)));
    }

    [Theory]
    [InlineData(BPF_JEQ, 5u, true)]
    [InlineData(BPF_JEQ, 6u, false)]
    [InlineData(BPF_JGT, 4u, true)]
    [InlineData(BPF_JGT, 5u, false)]
    [InlineData(BPF_JGE, 5u, true)]
    [InlineData(BPF_JGE, 6u, false)]
    [InlineData(BPF_JSET, 4u, true)]
    [InlineData(BPF_JSET, 2u, false)]
    public void ComparisonsJumpWhereTheyShould(int comparison, uint other, bool taken) => Assert.Equal(
        taken ? 1u : 2u,
        Returned(
            (BPF_LD | BPF_IMM, 0, 0, 5), (BPF_JMP | comparison | BPF_K, 1, 2, other), (BPF_RET | BPF_K, 0, 0, 9),
            (BPF_RET | BPF_K, 0, 0, 1), (BPF_RET | BPF_K, 0, 0, 2)));

    [Fact]
    public void JumpAlwaysLoadLengthAndNegateWork()
    {
        Assert.Equal(64u, Returned(
            (BPF_JMP | BPF_JA, 0, 0, 1), (BPF_RET | BPF_K, 0, 0, 9), (BPF_LD | BPF_W | BPF_LEN, 0, 0, 0),
            (BPF_RET | BPF_A, 0, 0, 0)));
        Assert.Equal(0xffffffffu, Returned(
            (BPF_LDX | BPF_IMM, 0, 0, 1), (BPF_MISC | BPF_TXA, 0, 0, 0), (BPF_ALU | BPF_NEG, 0, 0, 0),
            (BPF_RET | BPF_A, 0, 0, 0)));
    }

    [Fact]
    public void WhatTheKernelWouldNotHaveTakenCountsAsAKill()
    {
        byte[][] broken =
        [
            [], [1, 2, 3], new byte[8 * (BPF_MAXINSNS + 1)],
            Filter((BPF_LD | BPF_W | BPF_ABS, 0, 0, 64), (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)),
            Filter((BPF_LD | BPF_W | BPF_ABS, 0, 0, 2), (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)),
            Filter((BPF_ST, 0, 0, 16), (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)),
            Filter((BPF_JMP | BPF_JA, 0, 0, uint.MaxValue), (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)),
            Filter((BPF_ALU | BPF_DIV | BPF_X, 0, 0, 0), (BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)),
            Filter((BPF_LD | BPF_IMM, 0, 0, 1)),
        ];
        Assert.All(broken, filter => Assert.False(new SeccompFilters([filter]).Judge(Mmap).IsAllowed));
    }

    [Fact]
    public void WithoutFiltersEverythingIsAllowed() => Assert.True(new SeccompFilters([]).Judge(Mmap).IsAllowed);

    [Fact]
    public void NoBytesMakeTheInterpreterThrowOrHang() => Prop.ForAll(
        ArbMap.Default.ArbFor<byte[]>(),
        bytes =>
        {
            byte[] whole = new byte[bytes.Length / 8 * 8 + 8];
            bytes.CopyTo(whole, 0);
            _ = new SeccompFilters([bytes, whole]).Judge(Ioctl).ToString();
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));

    /// <summary>What a program returns. A verdict shows only answers stricter than "allow", so a returned A is
    /// fetched in two halves, each as the data of an errno answer; constants in these tests are small and shown as
    /// they are.</summary>
    private static uint Returned(params (int Code, byte True, byte False, uint K)[] program)
    {
        if (program[^1].Code != (BPF_RET | BPF_A))
        {
            return new SeccompFilters([Filter(program)]).Judge(Mmap).Action;
        }

        uint Half(int operation, uint operand) => new SeccompFilters([Filter([
            .. program[..^1], (BPF_ALU | operation | BPF_K, 0, 0, operand),
            (BPF_ALU | BPF_OR | BPF_K, 0, 0, SECCOMP_RET_ERRNO), (BPF_RET | BPF_A, 0, 0, 0),
        ])]).Judge(Mmap).Action & SECCOMP_RET_DATA;
        return (Half(BPF_RSH, 16) << 16) | Half(BPF_AND, 0xffff);
    }

    private static byte[] Filter(params (int Code, byte True, byte False, uint K)[] instructions)
    {
        byte[] raw = new byte[instructions.Length * 8];
        for (int i = 0; i < instructions.Length; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(raw.AsSpan(i * 8), (ushort)instructions[i].Code);
            raw[i * 8 + 2] = instructions[i].True;
            raw[i * 8 + 3] = instructions[i].False;
            BinaryPrimitives.WriteUInt32LittleEndian(raw.AsSpan(i * 8 + 4), instructions[i].K);
        }

        return raw;
    }
}
