using Samepage.Linux.Interception;

namespace Samepage.Linux.Tests.Interception;

/// <summary>Spans, registrations and the journal, without a kernel: random events against one flag per page.</summary>
public sealed class RunStateTests
{
    private const int Pages = 100;

    [Fact]
    public void A_page_set_has_the_pages_that_one_flag_per_page_says()
    {
        var random = new Random(1);
        var set = new PageSet();
        var flags = new bool[Pages];
        for (int step = 0; step < 5000; step++)
        {
            PageRange range = RandomRange(random);
            bool add = random.Next(2) == 0;
            bool changes = Enumerable.Range((int)range.Start, (int)range.Count).Any(page => flags[page] != add);
            Assert.Equal(changes, add ? set.Add(range) : set.Remove(range));
            flags.AsSpan((int)range.Start, (int)range.Count).Fill(add);
            Assert.Equal(SpansOf(flags), set.Spans);
            Assert.Equal(SpansOf([.. flags.Select(flag => !flag)]), set.Gaps(Pages));
            PageRange window = RandomRange(random);
            var inside = flags.Select((flag, page) => flag && window.Contains((ulong)page)).ToArray();
            Assert.Equal(SpansOf(inside), set.Within(window));
        }
    }

    [Fact]
    public void Registrations_are_what_the_kernel_s_flags_would_be_and_the_journal_tells_them_again()
    {
        int self = Environment.ProcessId;
        var random = new Random(2);
        RunJournal? latest = null;
        using var state = new RunState(null, replaced => latest = replaced);
        state.Appear(self, null);
        state.Do(new RunEntry(RunEvent.OpenArea, 0, 0, 0, 7));
        var marked = new bool[Pages];
        var inArea = new bool[Pages];
        bool whole = false;
        for (int step = 0; step < 9000; step++)
        {
            PageRange range = RandomRange(random);
            switch (random.Next(12))
            {
                case < 5:
                    state.Do(new RunEntry(RunEvent.Register, self, range.Start, range.End, 0));
                    marked.AsSpan((int)range.Start, (int)range.Count).Fill(true);
                    break;
                case < 9:
                    RunEvent leave = whole ? RunEvent.Except : RunEvent.Unregister;
                    state.Do(new RunEntry(leave, self, range.Start, range.End, 0));
                    marked.AsSpan((int)range.Start, (int)range.Count).Clear();
                    break;
                case 9:
                    bool on = random.Next(2) == 0;
                    state.Do(new RunEntry(RunEvent.RegisterAll, self, on ? 1ul : 0, 0, 0));
                    if (on || whole)
                    {
                        marked.AsSpan().Fill(on);
                    }

                    whole = on;
                    break;
                case 10:
                    state.Do(new RunEntry(RunEvent.RegisterInArea, self, range.Start, range.End, 7));
                    inArea.AsSpan((int)range.Start, (int)range.Count).Fill(true);
                    break;
                default:
                    state.Do(new RunEntry(RunEvent.EmptyArea, 0, 0, 0, 7));
                    inArea.AsSpan().Clear();
                    break;
            }

            PageRange[] expected = [.. SpansOf([.. marked.Zip(inArea, (one, other) => one || other)])];
            Assert.Equal(expected, Registered(state, self));
            if (step % 100 == 0)
            {
                using var again = new RunState(Copy(state.Journal), _ => { });
                Assert.Equal(expected, Registered(again, self));
                Assert.Equal(whole, again.Find(self)!.IsWhole);
                Assert.Equal([7ul], again.Areas);
            }
        }

        Assert.NotNull(latest); // more events than one journal holds: it has been rewritten
    }

    [Fact]
    public void A_file_that_is_no_journal_is_not_taken_for_one()
    {
        using var other = CallNotes.Create("d", handlesDevice: true);
        Assert.Null(RunJournal.TryOpen(other.File));
        using var journal = RunJournal.Create(16);
        Assert.Null(CallNotes.TryOpen(journal.File));
        using var reopened = CallNotes.TryOpen(other.File);
        Assert.Equal("d", reopened!.Domain);
        Assert.True(reopened.HandlesDevice);
    }

    private static IEnumerable<PageRange> Registered(RunState state, int pid) =>
        (state.Find(pid)!.Registered() ?? [new PageRange(0, Pages)])
            .Select(range => range.Intersect(new PageRange(0, Pages))).Where(range => !range.IsEmpty);

    private static RunJournal Copy(RunJournal journal)
    {
        var copy = RunJournal.Create(1 << 16);
        foreach (RunEntry entry in journal.Entries())
        {
            copy.Append(entry);
        }

        return copy;
    }

    private static PageRange RandomRange(Random random)
    {
        int start = random.Next(Pages);
        return new PageRange((ulong)start, (ulong)random.Next(start, Pages + 1));
    }

    private static IEnumerable<PageRange> SpansOf(bool[] flags)
    {
        for (int page = 0; page < flags.Length; page++)
        {
            if (flags[page])
            {
                int start = page;
                while (page < flags.Length && flags[page])
                {
                    page++;
                }

                yield return new PageRange((ulong)start, (ulong)page);
            }
        }
    }
}
