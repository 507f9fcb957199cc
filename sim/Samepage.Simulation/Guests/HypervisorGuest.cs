namespace Samepage.Simulation;

/// <summary>
/// A virtual machine: a process whose memory (a part of it) is a guest's, reached by the guest through a secondary MMU
/// and by the hypervisor's device emulation through the process's own page table.
/// </summary>
public sealed class HypervisorGuest
{
    private readonly SimulatedMachine _machine;

    /// <param name="machine">The machine.</param>
    /// <param name="process">The hypervisor's process.</param>
    /// <param name="memory">Its pages that are the guest's memory.</param>
    /// <param name="mmu">The guest's secondary MMU.</param>
    public HypervisorGuest(SimulatedMachine machine, SimulatedProcess process, PageRange memory, SecondaryMmu mmu)
    {
        ArgumentNullException.ThrowIfNull(machine);
        (_machine, Process, Memory, Mmu) = (machine, process, memory, mmu);
        machine.Add(this);
    }

    public SimulatedProcess Process { get; }

    /// <summary>The guest's memory, as pages of the process.</summary>
    public PageRange Memory { get; }

    public SecondaryMmu Mmu { get; }

    /// <summary>The guest reads a page; what it gets must be what was written.</summary>
    public bool Read(ulong page)
    {
        if (!Mmu.TryTranslate(page, write: false, out uint frame))
        {
            return false;
        }

        PageContent content = _machine.Memory.Frames[frame].Content;
        PageContent written = Process.WrittenAt(page);
        if (_machine.Options.RemembersWrites && content != written)
        {
            _machine.Violation("contents", $"the guest of {Process.Name} reads {content} at {page:x}, wrote {written}");
        }

        return true;
    }

    /// <summary>The guest writes half a page.</summary>
    public bool WriteHalf(ulong page, int half, ulong word)
    {
        if (!Mmu.TryTranslate(page, write: true, out uint frame))
        {
            return false;
        }

        _machine.Memory.WriteFrame(frame, half, word);
        Process.Remember(page, half, word);
        return true;
    }
}
