using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Samepage.Linux.Program.Abi;

namespace Samepage.Linux.Program;

/// <summary>
/// The last code a target runs for us: it unmaps the control area, in which the merge program cannot stand while
/// it does that, closes its descriptor and waits, all signals blocked, for the daemon to put the thread back. Lives in the
/// padding like the bootstrap. Registers at entry: r14 the control area, r12 its descriptor.
/// <para>
/// Should the daemon not come for about a second, the thread restores itself; the padding must then stay as it is for ever,
/// because a signal handler may run between the mask and the last jump, and return into the padding at any later time.
/// </para>
/// </summary>
internal static class LeaveProgram
{
    public const int ContextOffset = 320;

    /// <summary>About a second. No system call to sleep in: an interrupted one replaces what the kernel keeps about the
    /// thread's own interrupted call (restart_block), and a poll that is made again would end as a sleep does.</summary>
    private const int SpinsMax = 50_000_000;

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
        c.mov(r13d, SpinsMax);
        b.Place(ref wait);
        c.pause();
        c.dec(r13d);
        c.jne(wait);
        b.Place(ref restore);
        RestoreStub.EmitLoad(b, assumedBase + ContextOffset);
        Span<int> offsets = stackalloc int[2];
        byte[] code = b.Assemble(assumedBase, [wait, restore], offsets);
        if (code.Length > ContextOffset)
        {
            throw new InvalidOperationException($"the leave program has {code.Length} bytes, room is for {ContextOffset}");
        }

        byte[] image = new byte[ContextOffset + SlotLayout.State];
        code.CopyTo(image, 0);
        return (image, offsets[0], offsets[1]);
    }
}
