using System.Runtime.InteropServices;

namespace Samepage.Tests;

/// <summary>A machine that keeps no bytes at all: the content of a page is a function of its number. For measuring the
/// engine with millions of pages.</summary>
public sealed class SyntheticMachine : IMachine
{
    private readonly Dictionary<string, SyntheticStore> _stores = [];

    public ManualClock Time { get; } = new();

    public TimeProvider Clock => Time;

    public TimeSpan CpuTime => TimeSpan.Zero;

    public IPageStore OpenStore(string domain)
    {
        if (!_stores.TryGetValue(domain, out SyntheticStore? store))
        {
            store = new SyntheticStore(domain);
            _stores.Add(domain, store);
        }

        return store;
    }

    private sealed class SyntheticStore(string domain) : IPageStore
    {
        public string Domain => domain;

        public void Write(uint slot, ReadOnlySpan<byte> pages)
        {
        }

        public void Read(uint slot, Span<byte> pages) => throw new NotSupportedException();

        public void Reclaim(ReadOnlySpan<uint> slots, Span<bool> freed) => freed.Fill(true);
    }
}

/// <summary>A target of a <see cref="SyntheticMachine"/>. Everything is done as planned, and not remembered but for
/// which pages are merged.</summary>
public sealed class SyntheticTarget(int pid, int pageCount, Func<ulong, ulong> content) : ITarget
{
    private const ulong Base = 1UL << 30;

    private readonly byte[] _page = new byte[PageSize.Bytes];
    private ulong _changedFrom = Base;
    private ulong _shift;

    public int Pid => pid;

    public string Name => "synthetic";

    public bool IsAlive => true;

    public int VmaCount => 1;

    public IReadOnlyList<PageRange> Regions { get; } = [new(Base, Base + (ulong)pageCount)];

    public ReadOnlySpan<long> NotMergedPages => [];

    public long Scans { get; private set; }

    public long PlansSeen { get; private set; }

    /// <summary>Bytes of managed memory this object has taken since it was made.</summary>
    public long BytesGrown { get; private set; }

    /// <summary>The program writes all its pages: each gets another content.</summary>
    public void Rewrite()
    {
        _changedFrom = Base;
        _shift += 1UL << 32;
    }

    public bool RefreshRegions(bool force) => force;

    public int Scan(ref ulong cursor, ulong end, Span<PageRange> runs)
    {
        Scans++;
        ulong start = Math.Max(cursor, _changedFrom);
        cursor = end;
        if (start >= end)
        {
            return 0;
        }

        _changedFrom = end;
        runs[0] = new PageRange(start, end);
        return 1;
    }

    public int ScanShared(ref ulong cursor, ulong end, Span<SharedRun> runs)
    {
        cursor = end;
        return 0;
    }

    public int Read(ReadOnlySpan<PageRange> pages, Span<byte> destination)
    {
        int read = 0;
        foreach (PageRange range in pages)
        {
            for (ulong page = range.Start; page < range.End; page++)
            {
                // A copy of a page, as the kernel would make it, with one word that makes the difference.
                ulong word = content(page - Base);
                MemoryMarshal.Write(_page, word == 0 ? 0 : word + _shift);
                _page.CopyTo(destination[(read * PageSize.Bytes)..]);
                read++;
            }
        }

        return read;
    }

    public void Execute(IPageStore store, Span<MergePlan> plans)
    {
        PlansSeen += plans.Length;
        foreach (ref MergePlan plan in plans)
        {
            plan.Outcome = PlanOutcome.Done;
            plan.DonePages = plan.Count;
        }
    }
}
