using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;

namespace Samepage.Linux.Program;

/// <summary>
/// The last code a target runs for us: it unmaps the control area, in which the merge program cannot stand while
/// it does that, closes its descriptor and restores the thread by itself. Lives in the padding like the bootstrap.
/// Registers at entry: r14 the control area, r12 its descriptor.
/// </summary>
internal static class LeaveProgram
{
    public const int ContextOffset = 256;

    private static readonly Lazy<byte[]> Instance = new(Build);

    /// <summary>Code, starting at offset 0, and room for the context.</summary>
    public static byte[] Image => Instance.Value;

    private static byte[] Build()
    {
        const ulong assumedBase = 0x10_0000;
        var b = new CodeBuilder();
        b.Syscall(SYS_munmap, r14, ControlLayout.TotalBytes);
        b.Syscall(SYS_close, r12);
        RestoreStub.EmitLoad(b, assumedBase + ContextOffset);
        byte[] code = b.Assemble(assumedBase, [], []);
        if (code.Length > ContextOffset)
        {
            throw new InvalidOperationException($"the leave program has {code.Length} bytes, room is for {ContextOffset}");
        }

        byte[] image = new byte[ContextOffset + SlotLayout.State];
        code.CopyTo(image, 0);
        return image;
    }
}
