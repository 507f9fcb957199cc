using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Samepage.Linux.Program;

/// <summary>
/// A thin layer over Iced's assembler for the two pieces of machine code Samepage has: the merge program (runs in the
/// target) and the stop window (runs in the daemon). Both make raw system calls only.
/// </summary>
internal sealed class CodeBuilder
{
    private static readonly AssemblerRegister64[] ArgumentRegisters = [rdi, rsi, rdx, r10, r8, r9];
    private readonly List<Label> _used = [];
    private readonly HashSet<ulong> _placed = [];

    public Assembler C { get; } = new(64);

    /// <summary>A new label; <see cref="Assemble"/> checks that each was placed, which Iced does not.</summary>
    public Label NewLabel()
    {
        Label label = C.CreateLabel();
        _used.Add(label);
        return label;
    }

    public void Place(ref Label label)
    {
        // At most one label per instruction: a nop in between costs nothing here.
        C.nop();
        C.Label(ref label);
        _placed.Add(label.Id);
    }

    /// <summary>
    /// A system call; rax has the result, rcx and r11 are lost. Arguments are loaded in order, so a source must not be
    /// an argument register that an earlier argument has overwritten.
    /// </summary>
    public void Syscall(int number, params ReadOnlySpan<Operand> arguments)
    {
        for (int i = 0; i < arguments.Length; i++)
        {
            arguments[i].Load(C, ArgumentRegisters[i]);
        }

        C.mov(eax, number);
        C.syscall();
    }

    // Iced has no rip-relative operand for an address outside the code, so these few are encoded directly.

    /// <summary>mov register, [rip → address].</summary>
    public void LoadAt(AssemblerRegister64 register, ulong address) =>
        C.AddInstruction(Instruction.Create(Code.Mov_r64_rm64, register, At(address)));

    /// <summary>mov [rip → address], register.</summary>
    public void StoreAt(ulong address, AssemblerRegister64 register) =>
        C.AddInstruction(Instruction.Create(Code.Mov_rm64_r64, At(address), register));

    /// <summary>sub qword [rip → address], value.</summary>
    public void SubtractAt(ulong address, int value) =>
        C.AddInstruction(Instruction.Create(Code.Sub_rm64_imm8, At(address), value));

    /// <summary>lea register, [rip → address].</summary>
    public void AddressAt(AssemblerRegister64 register, ulong address) =>
        C.AddInstruction(Instruction.Create(Code.Lea_r64_m, register, At(address)));

    /// <summary>jmp [rip → address].</summary>
    public void JumpThrough(ulong address) => C.AddInstruction(Instruction.Create(Code.Jmp_rm64, At(address)));

    private static MemoryOperand At(ulong address) => new(Register.RIP, (long)address, 8);

    /// <summary>Machine code placed at <paramref name="baseAddress"/>, and the offsets of labels asked for.</summary>
    public byte[] Assemble(ulong baseAddress, ReadOnlySpan<Label> labels, Span<int> offsets)
    {
        foreach (Label label in _used)
        {
            Invariant(_placed.Contains(label.Id), "every label of the program is placed");
        }

        using var stream = new MemoryStream();
        AssemblerResult result = C.Assemble(
            new StreamCodeWriter(stream), baseAddress, BlockEncoderOptions.ReturnNewInstructionOffsets);
        for (int i = 0; i < labels.Length; i++)
        {
            offsets[i] = checked((int)(result.GetLabelRIP(labels[i]) - baseAddress));
        }

        return stream.ToArray();
    }

    private static void Invariant(bool condition, string what)
    {
        if (!condition)
        {
            throw new InvalidOperationException($"not true: {what}");
        }
    }

    /// <summary>Where a system call argument comes from.</summary>
    internal readonly struct Operand
    {
        private readonly Action<Assembler, AssemblerRegister64> _load;

        private Operand(Action<Assembler, AssemblerRegister64> load) => _load = load;

        public void Load(Assembler c, AssemblerRegister64 into) => _load(c, into);

        public static implicit operator Operand(long value) => new((c, into) => c.mov(into, value));

        public static implicit operator Operand(AssemblerRegister64 source) => new((c, into) =>
        {
            if (source != into)
            {
                c.mov(into, source);
            }
        });

        public static implicit operator Operand(AssemblerMemoryOperand source) => new((c, into) => c.mov(into, source));

        /// <summary>The address itself rather than what is there.</summary>
        public static Operand AddressOf(AssemblerMemoryOperand source) => new((c, into) => c.lea(into, source));
    }
}
