namespace Samepage.Simulation;

/// <summary>
/// Looks into a simulated machine for what no program can see yet but some program could suffer from later: wrong
/// reference counts, and translations that no longer agree with the page table they were taken from.
/// </summary>
public static class MachineChecker
{
    /// <summary>Everything that has to hold at every moment.</summary>
    public static List<Violation> Check(SimulatedMachine machine)
    {
        ArgumentNullException.ThrowIfNull(machine);
        var wrong = new List<Violation>(machine.Violations);
        MemoryChecker.CheckPages(machine.Processes, wrong);
        CheckTlbs(machine, wrong);
        foreach (HypervisorGuest guest in machine.Guests)
        {
            guest.Mmu.Check(wrong);
        }

        CheckFrames(machine, wrong);
        return wrong;
    }

    /// <summary>What a CPU remembers is what the page table says, with no more rights.</summary>
    private static void CheckTlbs(SimulatedMachine machine, List<Violation> wrong)
    {
        int cpu = 0;
        foreach (Tlb tlb in machine.Memory.Tlbs)
        {
            foreach ((MappingKey key, Pte pte) in tlb.Remembered())
            {
                AddressSpace space = machine.Memory.Spaces[key.Space];
                Pte now = space.PteOf(key.Page);
                ulong rights = pte.Bits & (Pte.WritableBit | Pte.DirtyBit);
                if (!now.IsPresent || now.Frame != pte.Frame || (rights & ~now.Bits) != 0)
                {
                    wrong.Add(new Violation(
                        "tlb", $"CPU {cpu} still translates page {key.Page:x} of space {key.Space} as before"));
                }
            }

            cpu++;
        }
    }

    /// <summary>Each frame has as many mappings and references as there are.</summary>
    private static void CheckFrames(SimulatedMachine machine, List<Violation> wrong)
    {
        PhysicalMemory frames = machine.Memory.Frames;
        var mappings = new int[frames.End];
        foreach (AddressSpace space in machine.Memory.Spaces.Where(space => space.IsAlive))
        {
            space.Table.ForEachLeaf((_, leaf) =>
            {
                foreach (ulong bits in leaf)
                {
                    if (new Pte(bits).IsPresent)
                    {
                        mappings[new Pte(bits).Frame]++;
                    }
                }
            });
        }

        var pins = new int[frames.End];
        foreach (PinnedPage pin in machine.Processes.SelectMany(process => process.Pins))
        {
            pins[pin.Frame]++;
        }

        for (uint i = PhysicalMemory.ZeroFrame + 1; i < frames.End; i++)
        {
            ref Frame frame = ref frames[i];
            bool isFree = frame.Kind == FrameKind.Free;
            if (isFree ? mappings[i] + pins[i] > 0
                : frame.Mappings != mappings[i] || frame.ExtraReferences != pins[i])
            {
                wrong.Add(new Violation(
                    "frames",
                    $"frame {i} ({frame.Kind}) counts {frame.Mappings} mappings and {frame.ExtraReferences} references,"
                    + $" but has {mappings[i]} and {pins[i]}"));
            }
        }
    }
}
