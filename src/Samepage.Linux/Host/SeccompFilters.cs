using System.Buffers.Binary;
using static Samepage.Linux.Interop.Seccomp;

namespace Samepage.Linux.Host;

/// <summary>One system call a program in the target would make. Arguments that are addresses may be any value:
/// filters compare values, they cannot follow pointers.</summary>
/// <param name="Name">For messages, such as <c>mmap</c>.</param>
/// <param name="Number">x86-64 system call number.</param>
/// <param name="Arguments">Up to six arguments; missing ones are 0.</param>
internal readonly record struct SeccompCall(string Name, int Number, params ulong[] Arguments);

/// <summary>What a process's filters do to a call.</summary>
/// <param name="Action">SECCOMP_RET_* with data, the strictest of all filters.</param>
internal readonly record struct SeccompVerdict(uint Action)
{
    /// <summary>True when the call is carried out unchanged.</summary>
    internal bool IsAllowed => (Action & SECCOMP_RET_ACTION_FULL) is SECCOMP_RET_ALLOW or SECCOMP_RET_LOG;

    /// <inheritdoc/>
    public override string ToString() => (Action & SECCOMP_RET_ACTION_FULL) switch
    {
        SECCOMP_RET_ALLOW => "is allowed",
        SECCOMP_RET_LOG => "is allowed and logged",
        SECCOMP_RET_ERRNO => $"fails with error {Action & SECCOMP_RET_DATA}",
        SECCOMP_RET_TRACE => "is handed to a tracer",
        SECCOMP_RET_USER_NOTIF => "is handed to a supervisor",
        SECCOMP_RET_TRAP => "raises SIGSYS",
        _ => "kills the process",
    };
}

/// <summary>
/// Runs a process's seccomp filters, as PTRACE_SECCOMP_GET_FILTER delivers them, over calls it has not made yet. So
/// it is known before anything is injected whether a filter would fail or kill it. Accepts what the kernel's own
/// checker (seccomp_check_filter in kernel/seccomp.c) accepts; anything else counts as a filter that kills.
/// </summary>
internal sealed class SeccompFilters
{
    private const int InstructionBytes = 8;
    private const int DataBytes = 64; // sizeof(struct seccomp_data)

    private readonly Instruction[][] _filters;

    /// <summary>Takes the raw filters of a thread, in any order.</summary>
    internal SeccompFilters(IEnumerable<byte[]> filters) => _filters = [.. filters.Select(Decode)];

    /// <summary>What becomes of a call: the strictest answer of all filters, as in the kernel.</summary>
    internal SeccompVerdict Judge(in SeccompCall call, ulong instructionPointer = 0)
    {
        Span<byte> data = stackalloc byte[DataBytes];
        data.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(data, call.Number);
        BinaryPrimitives.WriteUInt32LittleEndian(data[4..], AUDIT_ARCH_X86_64);
        BinaryPrimitives.WriteUInt64LittleEndian(data[8..], instructionPointer);
        for (int i = 0; i < Math.Min(6, call.Arguments.Length); i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(data[(16 + (8 * i))..], call.Arguments[i]);
        }

        uint strictest = SECCOMP_RET_ALLOW;
        foreach (Instruction[] filter in _filters)
        {
            uint action = Run(filter, data);
            // Compared as signed numbers, "kill the process" is the smallest.
            if ((int)(action & SECCOMP_RET_ACTION_FULL) < (int)(strictest & SECCOMP_RET_ACTION_FULL))
            {
                strictest = action;
            }
        }

        return new SeccompVerdict(strictest);
    }

    /// <summary>The first call that is not allowed; null when all are.</summary>
    internal (SeccompCall Call, SeccompVerdict Verdict)? FirstRefused(IEnumerable<SeccompCall> calls)
    {
        foreach (SeccompCall call in calls)
        {
            SeccompVerdict verdict = Judge(call);
            if (!verdict.IsAllowed)
            {
                return (call, verdict);
            }
        }

        return null;
    }

    private static Instruction[] Decode(byte[] raw)
    {
        if (raw.Length % InstructionBytes != 0 || raw.Length / InstructionBytes is 0 or > BPF_MAXINSNS)
        {
            return [];
        }

        Instruction[] filter = new Instruction[raw.Length / InstructionBytes];
        for (int i = 0; i < filter.Length; i++)
        {
            ReadOnlySpan<byte> bytes = raw.AsSpan(i * InstructionBytes);
            filter[i] = new Instruction(
                BinaryPrimitives.ReadUInt16LittleEndian(bytes), bytes[2], bytes[3],
                BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]));
        }

        return filter;
    }

    /// <summary>Jumps go forward only, so this ends after at most as many steps as there are instructions.</summary>
    private static uint Run(Instruction[] filter, ReadOnlySpan<byte> data)
    {
        Registers registers = new() { Memory = stackalloc uint[BPF_MEMWORDS] };
        registers.Memory.Clear();
        for (long i = 0; i < filter.Length; i++)
        {
            Instruction at = filter[i];
            switch (at.Code & 7)
            {
                case BPF_RET:
                    return (at.Code & 0x18) == BPF_A ? registers.A : at.K;
                case BPF_JMP:
                    i += Jump(at, registers);
                    break;
                default:
                    if (!Step(at, ref registers, data))
                    {
                        return SECCOMP_RET_KILL_PROCESS;
                    }

                    break;
            }
        }

        // Ran past the end: the kernel would not have taken such a filter.
        return SECCOMP_RET_KILL_PROCESS;
    }

    private static long Jump(Instruction at, in Registers registers)
    {
        if ((at.Code & 0xf0) == BPF_JA)
        {
            return at.K;
        }

        uint other = (at.Code & BPF_X) != 0 ? registers.X : at.K;
        bool taken = (at.Code & 0xf0) switch
        {
            BPF_JEQ => registers.A == other,
            BPF_JGT => registers.A > other,
            BPF_JGE => registers.A >= other,
            BPF_JSET => (registers.A & other) != 0,
            _ => false,
        };
        return taken ? at.True : at.False;
    }

    /// <summary>Everything that neither jumps nor returns; false for what seccomp does not know.</summary>
    private static bool Step(Instruction at, ref Registers registers, ReadOnlySpan<byte> data)
    {
        bool inMemory = at.K < BPF_MEMWORDS;
        switch (at.Code)
        {
            case BPF_LD | BPF_W | BPF_ABS when at.K <= DataBytes - 4 && at.K % 4 == 0:
                registers.A = BinaryPrimitives.ReadUInt32LittleEndian(data[(int)at.K..]);
                return true;
            case BPF_LD | BPF_W | BPF_LEN:
                registers.A = DataBytes;
                return true;
            case BPF_LDX | BPF_W | BPF_LEN:
                registers.X = DataBytes;
                return true;
            case BPF_LD | BPF_IMM:
                registers.A = at.K;
                return true;
            case BPF_LDX | BPF_IMM:
                registers.X = at.K;
                return true;
            case BPF_LD | BPF_MEM when inMemory:
                registers.A = registers.Memory[(int)at.K];
                return true;
            case BPF_LDX | BPF_MEM when inMemory:
                registers.X = registers.Memory[(int)at.K];
                return true;
            case BPF_ST when inMemory:
                registers.Memory[(int)at.K] = registers.A;
                return true;
            case BPF_STX when inMemory:
                registers.Memory[(int)at.K] = registers.X;
                return true;
            case BPF_MISC | BPF_TAX:
                registers.X = registers.A;
                return true;
            case BPF_MISC | BPF_TXA:
                registers.A = registers.X;
                return true;
            default:
                return (at.Code & 7) == BPF_ALU && at.Code < 0x100 && Calculate(at, ref registers);
        }
    }

    private static bool Calculate(Instruction at, ref Registers registers)
    {
        uint a = registers.A;
        uint b = (at.Code & BPF_X) != 0 ? registers.X : at.K;
        switch (at.Code & 0xf0)
        {
            case BPF_ADD:
                a += b;
                break;
            case BPF_SUB:
                a -= b;
                break;
            case BPF_MUL:
                a *= b;
                break;
            case BPF_DIV when b != 0:
                a /= b;
                break;
            case BPF_OR:
                a |= b;
                break;
            case BPF_AND:
                a &= b;
                break;
            case BPF_LSH:
                a <<= (int)(b & 31);
                break;
            case BPF_RSH:
                a >>= (int)(b & 31);
                break;
            case BPF_NEG:
                a = 0 - a;
                break;
            case BPF_XOR:
                a ^= b;
                break;
            default:
                return false; // dividing by zero ends the filter with 0, which is a kill as well
        }

        registers.A = a;
        return true;
    }

    private readonly record struct Instruction(ushort Code, byte True, byte False, uint K);

    private ref struct Registers
    {
        internal uint A;
        internal uint X;
        internal Span<uint> Memory;
    }
}
