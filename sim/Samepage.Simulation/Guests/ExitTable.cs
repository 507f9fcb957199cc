namespace Samepage.Simulation;

/// <summary>Exits of guests per page, for one way of telling them.</summary>
/// <param name="Way">How the guests' hypervisor hears of new pages.</param>
/// <param name="ReadAfterMerge">A page is merged, then the guest reads it.</param>
/// <param name="ReadDuringMerge">The guest also reads it between page_wrprotect and replace_page.</param>
/// <param name="BreakByGuest">The guest writes a merged page, then reads it.</param>
/// <param name="BreakByHost">The hypervisor's device emulation writes it, then the guest reads and writes it.</param>
public sealed record ExitRow(
    string Way, double ReadAfterMerge, double ReadDuringMerge, double BreakByGuest, double BreakByHost);

/// <summary>
/// What set_pte_at_notify is for, in exits: two guests with the same memory, merged by the engine and then written,
/// under each way of telling a secondary MMU that another page lies behind an entry.
/// </summary>
public static class ExitTable
{
    private const ulong Base = 1 << 20;

    /// <summary>Measures all ways.</summary>
    /// <param name="pages">Pages of each guest, 1 to 510. The figures do not depend on it.</param>
    public static IReadOnlyList<ExitRow> Measure(int pages = 64)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pages, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pages, 510);
        return
        [
            Measure(
                "change_pte",
                pages,
                NotificationRule.ChangePte,
                (machine, process, area) => new ChangePteMmu(machine, process, area)),
            Measure(
                "change_pte for read-only pages (KVM 2.6.32)",
                pages,
                NotificationRule.ChangePte,
                (machine, process, area) => new ReadOnlyChangePteMmu(machine, process, area)),
            Measure(
                "invalidate_page (without change_pte)",
                pages,
                NotificationRule.ChangePte,
                (machine, process, area) => new SecondaryMmu(machine, process, area)),
            Measure(
                "invalidate_range_start/end (today)",
                pages,
                NotificationRule.InvalidateRange,
                (machine, process, area) => new ChangePteMmu(machine, process, area)),
        ];
    }

    private static ExitRow Measure(
        string way,
        int pages,
        NotificationRule rule,
        Func<SimulatedMachine, SimulatedProcess, PageRange, SecondaryMmu> mmu)
    {
        double ReadAfterMerge()
        {
            var host = new Host(pages, rule, mmu);
            return host.Exits(() =>
            {
                host.Merge();
                host.Each((guest, page) => guest.Read(page));
            });
        }

        double ReadDuringMerge()
        {
            var host = new Host(pages, rule, mmu);
            return host.Exits(() =>
            {
                host.MergeWhileRead();
                host.Each((guest, page) => guest.Read(page));
            });
        }

        double BreakByGuest()
        {
            Host host = Merged();
            return host.Exits(() => host.Each((guest, page) =>
            {
                guest.WriteHalf(page, 0, page);
                guest.Read(page);
            }));
        }

        double BreakByHost()
        {
            Host host = Merged();
            return host.Exits(() => host.Each((guest, page) =>
            {
                guest.Process.WriteHalf(0, page, 0, page);
                guest.Read(page);
                guest.WriteHalf(page, 1, page);
            }));
        }

        Host Merged()
        {
            var host = new Host(pages, rule, mmu);
            host.Merge();
            host.Each((guest, page) => guest.Read(page));
            return host;
        }

        return new ExitRow(way, ReadAfterMerge(), ReadDuringMerge(), BreakByGuest(), BreakByHost());
    }

    /// <summary>Two guests with equal memory, all of which they have written, so that all is mapped.</summary>
    private sealed class Host : IInterleaver
    {
        private readonly int _pages;
        private readonly SimulatedMachine _machine;
        private readonly Engine _engine;

        public Host(
            int pages,
            NotificationRule rule,
            Func<SimulatedMachine, SimulatedProcess, PageRange, SecondaryMmu> mmu)
        {
            _pages = pages;
            _machine = new SimulatedMachine(new MachineOptions { Rule = rule });
            _engine = new Engine(_machine, new Knobs(), 1);
            var area = new PageRange(Base, Base + (ulong)pages);
            for (int i = 0; i < 2; i++)
            {
                SimulatedProcess process = _machine.Start(area);
                _ = new HypervisorGuest(_machine, process, area, mmu(_machine, process, area));
                _engine.Register(process, "guests");
            }

            Each((guest, page) =>
            {
                guest.WriteHalf(page, 0, page);
                guest.WriteHalf(page, 1, page);
            });
        }

        /// <summary>Exits per page of both guests while something is done.</summary>
        public double Exits(Action action)
        {
            long before = _machine.Guests.Sum(guest => guest.Mmu.Exits);
            action();
            List<Violation> wrong = MachineChecker.Check(_machine);
            if (wrong.Count > 0)
            {
                throw new InvalidOperationException(wrong[0].ToString());
            }

            return (_machine.Guests.Sum(guest => guest.Mmu.Exits) - before) / (2.0 * _pages);
        }

        public void Merge()
        {
            MergeReport report = _engine.Merge(null, null, CancellationToken.None);
            Invariant.Check(report.PagesMerged == 2 * _pages);
        }

        /// <summary>The same, while the guest whose page it is reads it once it is write-protected.</summary>
        public void MergeWhileRead()
        {
            _machine.Interleaver = this;
            Merge();
            _machine.Interleaver = null;
        }

        public void At(SchedulingPoint point, SimulatedProcess? process, ulong page)
        {
            if (point == SchedulingPoint.Protected)
            {
                _machine.Guests.First(guest => guest.Process == process).Read(page);
            }
        }

        public void Each(Action<HypervisorGuest, ulong> action)
        {
            foreach (HypervisorGuest guest in _machine.Guests)
            {
                for (ulong page = guest.Memory.Start; page < guest.Memory.End; page++)
                {
                    action(guest, page);
                }
            }
        }
    }
}
