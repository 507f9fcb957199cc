using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;

namespace Samepage.Linux.Program;

/// <summary>
/// The last code a target runs for us: it unmaps the control area, in which the merge program cannot stand while
/// it does that, closes its descriptor and waits, all signals blocked, for the daemon to put the thread back. Lives in the
/// padding like the bootstrap. Registers at entry: r14 the control area, r12 its descriptor.
/// <para>
/// Should the daemon not come for some seconds, the thread restores itself; the padding must then stay as it is for ever,
/// because a signal handler may run between the mask and the last jump, and return into the padding at any later time.
/// </para>
/// </summary>
internal static class LeaveProgram
{
    public const int ContextOffset = 320;
    private const int TimeOffset = ContextOffset - 16, WaitMilliseconds = 2, WaitsMax = 2000;

    private static readonly Lazy<(byte[] Image, int WaitStart, int WaitEnd)> Instance = new(Build);

    /// <summary>Code, starting at offset 0, and room for the context.</summary>
    public static byte[] Image => Instance.Value.Image;

    /// <summary>True for an instruction pointer, relative to the image, of a thread that waits to be put back.</summary>
    public static bool IsWaiting(ulong offset) =>
        offset >= (ulong)Instance.Value.WaitStart && offset < (ulong)Instance.Value.WaitEnd;

    private static (byte[] Image, int WaitStart, int WaitEnd) Build()
    {
        const ulong assumedBase = 0x10_0000;
        var b = new CodeBuilder();
        Assembler c = b.C;
        Label wait = b.NewLabel(), restore = b.NewLabel();
        b.Syscall(SYS_munmap, r14, ControlLayout.TotalBytes);
        b.Syscall(SYS_close, r12);
        c.mov(r13d, WaitsMax);
        b.Place(ref wait);
        b.AddressAt(rdi, assumedBase + TimeOffset);
        c.xor(esi, esi);
        c.mov(eax, SYS_nanosleep);
        c.syscall();
        c.dec(r13d);
        c.jne(wait);
        b.Place(ref restore);
        RestoreStub.EmitLoad(b, assumedBase + ContextOffset);
        Span<int> offsets = stackalloc int[2];
        byte[] code = b.Assemble(assumedBase, [wait, restore], offsets);
        if (code.Length > TimeOffset)
        {
            throw new InvalidOperationException($"the leave program has {code.Length} bytes, room is for {TimeOffset}");
        }

        byte[] image = new byte[ContextOffset + SlotLayout.State];
        code.CopyTo(image, 0);
        BitConverter.TryWriteBytes(image.AsSpan(TimeOffset + 8), WaitMilliseconds * 1_000_000L);
        return (image, offsets[0], offsets[1]);
    }
}
