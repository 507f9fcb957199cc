using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

/// <summary>What set_pte_at_notify is for, in exits of guests.</summary>
public class GuestExitTests(ITestOutputHelper output)
{
    [Fact]
    public void ChangePteSavesTheExitAfterAMergeAndAfterACopyOnWrite()
    {
        IReadOnlyList<ExitRow> rows = ExitTable.Measure();
        foreach (ExitRow row in rows)
        {
            output.WriteLine($"{row}");
        }

        Assert.Equal(
            [
                // Merged and read, read while merged, written by the guest, written by the hypervisor.
                (0.0, 0.0, 1.0, 0.0),
                (0.0, 0.0, 2.0, 1.0),
                (1.0, 2.0, 2.0, 1.0),
                (1.0, 2.0, 2.0, 1.0),
            ],
            rows.Select(row => (row.ReadAfterMerge, row.ReadDuringMerge, row.BreakByGuest, row.BreakByHost)));
    }

    [Fact]
    public void TheFiguresArePerPage() => Assert.Equal(ExitTable.Measure(1), ExitTable.Measure(200));

    [Fact]
    public void AFaultThatANotificationOvertakesIsTriedAgain()
    {
        var machine = new SimulatedMachine();
        var area = new PageRange(1 << 20, (1 << 20) + 1);
        SimulatedProcess process = machine.Start(area);
        var guest = new HypervisorGuest(machine, process, area, new SecondaryMmu(machine, process, area));

        // The zero page first: the write copies it, in the middle of the guest's fault.
        Assert.True(guest.Read(area.Start));
        Assert.Equal((1, 0), (guest.Mmu.NotMappedExits, guest.Mmu.WriteProtectedExits));
        Assert.True(guest.WriteHalf(area.Start, 0, 1));
        Assert.Equal((2, 1), (guest.Mmu.NotMappedExits, guest.Mmu.WriteProtectedExits));
        Assert.True(guest.WriteHalf(area.Start, 1, 1));
        Assert.Equal(3, guest.Mmu.Exits);
        Assert.Empty(MachineChecker.Check(machine));
    }

    [Fact]
    public void APageTheGuestUsesIsYoungOnce()
    {
        var machine = new SimulatedMachine();
        var area = new PageRange(1 << 20, (1 << 20) + 2);
        SimulatedProcess process = machine.Start(area);
        var guest = new HypervisorGuest(machine, process, area, new ChangePteMmu(machine, process, area));
        guest.WriteHalf(area.Start, 0, 1);
        process.Write(0, area.Start + 1, PageContent.Of(2));
        Assert.False(process.SwapOut(area.Start));
        Assert.True(process.SwapOut(area.Start + 1));
        Assert.True(process.SwapOut(area.Start));
        Assert.True(guest.Read(area.Start));
        Assert.Empty(MachineChecker.Check(machine));
    }
}
