namespace Samepage.Simulation;

/// <summary>
/// Programs, guests, devices and the kernel's swapping, on several CPUs, doing anything at any time.
/// </summary>
internal sealed class Workload(SimulatedMachine machine, SeededRandom random, ICollection<string> log)
{
    private const int ProcessesMax = 7;
    private const int PinsMax = 4;

    // Enough addresses never used before for any number of actions.
    private ulong _nextAddress = 1 << 20;

    /// <summary>Operations done.</summary>
    public long Operations { get; private set; }

    /// <summary>What operations are about while it is set, if they can be; null: anything.</summary>
    public (SimulatedProcess Process, ulong Page)? Focus { get; set; }

    public List<SimulatedProcess> Alive => [.. machine.Processes.Where(process => process.IsAlive)];

    public SimulatedProcess Start()
    {
        // Mostly small, so that everything meets everything; now and then several page tables long.
        int pages = random.OneIn(12) ? 300 + random.Next(400) : 4 + random.Next(28);
        PageRange area = FreshRange(pages);
        SimulatedProcess process = machine.Start(area);
        log.Add($"start {process.Name} {area}");
        if (random.OneIn(2))
        {
            SecondaryMmu mmu = random.Next(3) switch
            {
                0 => new SecondaryMmu(machine, process, area),
                1 => new ReadOnlyChangePteMmu(machine, process, area),
                _ => new ChangePteMmu(machine, process, area),
            };
            _ = new HypervisorGuest(machine, process, area, mmu);
        }

        Fill(process);
        Fill(process);
        return process;
    }

    /// <summary>One operation of somebody.</summary>
    public void Step()
    {
        List<SimulatedProcess> alive = Alive;
        if (alive.Count == 0)
        {
            return;
        }

        Operations++;
        SimulatedProcess process = PickProcess(alive);
        int cpu = random.Next(machine.Options.Processors);
        switch (random.Next(100))
        {
            case < 26:
                WriteHalf(process, cpu);
                break;
            case < 32:
                Fill(process);
                break;
            case < 44:
                process.Read(cpu, Page(process));
                break;
            case < 62:
                UseGuest();
                break;
            case < 75:
                UseDevice(process);
                break;
            case < 82:
                SwapOut(process);
                break;
            case < 96:
                ChangeMappings(process);
                break;
            case < 98 when alive.Count < ProcessesMax && !process.IsLocked:
                Do($"fork {process.Name}", () => process.Fork());
                break;
            case >= 98 when alive.Count > 2 && !process.IsLocked:
                Do($"exit {process.Name}", process.Exit);
                break;
            default:
                break;
        }
    }

    /// <summary>One operation of somebody who does not wait for the lock of the page table.</summary>
    public void LocklessStep()
    {
        List<SimulatedProcess> alive = Alive;
        SimulatedProcess process = PickProcess(alive);
        int cpu = random.Next(machine.Options.Processors);
        Operations++;
        if (random.OneIn(2))
        {
            for (int i = 0; i < 8; i++)
            {
                ulong page = Page(process);
                if (process.WriteHalfWithoutWalk(cpu, page, random.Next(2), Word(process, page)))
                {
                    log.Add($"{process.Name} writes {page:x} without a walk");
                    return;
                }
            }
        }
        else if (process.Pins.Count < PinsMax)
        {
            ulong page = Page(process);
            Do($"{process.Name} pins {page:x} without a lock", () => process.TryPin(page, fast: true));
        }
    }

    /// <summary>Nothing is held or swapped out any more.</summary>
    public void ComeToRest()
    {
        foreach (SimulatedProcess process in Alive)
        {
            while (process.Pins.Count > 0)
            {
                process.Unpin(0);
            }

            foreach (ObservedPage page in process.Observe().ToList())
            {
                process.Read(0, page.Page);
            }
        }
    }

    private void WriteHalf(SimulatedProcess process, int cpu)
    {
        ulong page = Page(process);
        int half = random.Next(3);
        ulong word = Word(process, page);
        Do($"{process.Name} writes {page:x}/{half} {word:x} on {cpu}", () =>
        {
            if (half == 2)
            {
                process.Write(cpu, page, PageContent.Of(word));
            }
            else
            {
                process.WriteHalf(cpu, page, half, word);
            }
        });
    }

    private void Fill(SimulatedProcess process)
    {
        PageRange range = Part(process);
        int cpu = random.Next(machine.Options.Processors);
        int style = random.Next(4);
        ulong salt = (ulong)random.Next(3);
        Do($"{process.Name} fills {range} {style}/{salt}", () =>
        {
            for (ulong page = range.Start; page < range.End; page++)
            {
                process.Write(cpu, page, PageContent.Of(Word(process, page, style, salt)));
            }
        });
    }

    private void UseGuest()
    {
        HypervisorGuest[] guests = [.. machine.Guests.Where(guest => guest.Process.IsAlive)];
        if (guests.Length == 0)
        {
            return;
        }

        HypervisorGuest guest = Array.Find(guests, each => each.Process == Focus?.Process) ?? random.Pick(guests);
        ulong page = Focus is { } focus && guest.Memory.Contains(focus.Page)
            ? focus.Page
            : guest.Memory.Start + (ulong)random.Next((int)guest.Memory.Count);
        if (random.Next(3) > 0)
        {
            guest.Read(page);
            return;
        }

        ulong word = Word(guest.Process, page);
        int half = random.Next(2);
        Do($"guest of {guest.Process.Name} writes {page:x}/{half} {word:x}", () => guest.WriteHalf(page, half, word));
    }

    private void UseDevice(SimulatedProcess process)
    {
        int action = random.Next(3);
        if (process.Pins.Count == 0 || (action == 0 && process.Pins.Count < PinsMax))
        {
            ulong page = Page(process);
            bool fast = random.OneIn(2);
            Do($"{process.Name} pins {page:x}", () => process.TryPin(page, fast));
            return;
        }

        int index = random.Next(process.Pins.Count);
        if (action == 1)
        {
            Do($"{process.Name} unpins {process.Pins[index].Page:x}", () => process.Unpin(index));
            return;
        }

        ulong word = Word(process, process.Pins[index].Page);
        Do(
            $"device writes {process.Pins[index].Page:x} of {process.Name}",
            () => process.WritePinned(index, random.Next(2), word));
    }

    private void SwapOut(SimulatedProcess process)
    {
        PageRange range = Part(process);
        Do($"swap out {range} of {process.Name}", () =>
        {
            for (ulong page = range.Start; page < range.End; page++)
            {
                process.SwapOut(page);
            }
        });
    }

    private void ChangeMappings(SimulatedProcess process)
    {
        PageRange range = Part(process);
        switch (process.IsLocked ? 0 : random.Next(10))
        {
            case < 4:
                Do($"{process.Name} drops {range}", () => process.Drop(range));
                break;
            case < 5:
                Do($"{process.Name} unmaps {range}", () => process.Unmap(range));
                break;
            case < 6:
                PageRange fresh = FreshRange(1 + random.Next(12));
                Do($"{process.Name} maps {fresh}", () => process.Map(fresh));
                break;
            case < 7:
                ulong to = FreshRange((int)range.Count).Start;
                Do($"{process.Name} moves {range} to {to:x}", () => process.Move(range, to));
                break;
            default:
                bool writable = random.Next(3) > 0;
                Do($"{process.Name} protects {range} {writable}", () => process.Protect(range, writable));
                break;
        }
    }

    private void Do(string what, Action action)
    {
        log.Add(what);
        action();
    }

    private SimulatedProcess PickProcess(List<SimulatedProcess> alive) =>
        Focus is { Process.IsAlive: true } focus ? focus.Process : random.Pick(alive);

    private PageRange FreshRange(int pages)
    {
        var range = new PageRange(_nextAddress, _nextAddress + (ulong)pages);

        // Sometimes with a gap, so that not everything becomes one area.
        _nextAddress = range.End + (random.OneIn(2) ? 0 : (ulong)random.Next(600));
        return range;
    }

    private ulong Page(SimulatedProcess process) => Part(process).Start;

    private PageRange Part(SimulatedProcess process)
    {
        if (process.Space.Vmas.Count == 0)
        {
            // Cannot be at work on a page of a process without any.
            process.Map(FreshRange(8));
        }

        PageRange range = random.Pick(process.Space.Vmas).Range;
        ulong start = range.Start + (ulong)random.Next((int)range.Count);
        if (Focus is { } focus && focus.Process == process && process.Space.TryFindVma(focus.Page, out Vma vma))
        {
            (range, start) = (vma.Range, focus.Page);
        }

        ulong length = random.OneIn(3) ? 1 : 1 + (ulong)random.Next(random.OneIn(8) ? 600 : 12);
        return new PageRange(start, Math.Min(range.End, start + length));
    }

    private ulong Word(SimulatedProcess process, ulong page)
    {
        // Now and then the same bytes again: a write that changes nothing but the entry.
        bool same = Focus is not null && random.OneIn(3);
        ulong word = Word(process, page, random.Next(4), (ulong)random.Next(3));
        return same ? process.WrittenAt(page).First : word;
    }

    private static ulong Word(SimulatedProcess process, ulong page, int style, ulong salt) => style switch
    {
        0 => 0,
        1 => 1 + salt,
        2 => 100 + (page % 16) + (salt * 1000),
        _ => page + ((ulong)process.Pid << 36),
    };
}
