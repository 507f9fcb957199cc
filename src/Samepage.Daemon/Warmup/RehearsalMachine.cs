using System.Buffers.Binary;

namespace Samepage.Daemon.Warmup;

/// <summary>A machine whose pages are numbers: what the engine needs to go through the motions, and no more.</summary>
internal sealed class RehearsalMachine : IMachine
{
    private int started;

    public TimeProvider Clock => TimeProvider.System;

    public TimeSpan CpuTime => TimeSpan.Zero;

    public IPageStore OpenStore(string domain) => new Store(domain);

    /// <summary>A process with pages of all kinds: equal to another process's, alone, zero, changing.</summary>
    public Process Start(int side) => new(side, ++started);

    internal sealed class Process(int side, int pid) : ITarget
    {
        private const ulong PageCount = 5120;
        private const ulong First = 1 << 20;
        private readonly long[] notMerged = new long[NotMergedReasonNames.Count];
        private ulong listed = First;
        private ulong version;

        public int Pid => pid;

        public string Name => "rehearsal";

        public bool IsAlive => true;

        public int VmaCount => 1;

        public IReadOnlyList<PageRange> Regions { get; } = [new PageRange(First, First + PageCount)];

        public ReadOnlySpan<long> NotMergedPages => notMerged;

        /// <summary>Writes to the last pages, whatever they hold.</summary>
        public void Write(ulong pages)
        {
            listed = First + PageCount - pages;
            version++;
        }

        public bool RefreshRegions(bool force) => force;

        public int Scan(ref ulong cursor, ulong end, Span<PageRange> runs)
        {
            var from = Math.Max(cursor, listed);
            cursor = end;
            if (from >= end)
            {
                return 0;
            }

            runs[0] = new PageRange(from, end);
            listed = end;
            return 1;
        }

        public int ScanShared(ref ulong cursor, ulong end, Span<SharedRun> runs)
        {
            cursor = end;
            return 0;
        }

        public int Read(ReadOnlySpan<PageRange> pages, Span<byte> destination)
        {
            var read = 0;
            foreach (var range in pages)
            {
                for (var page = range.Start; page < range.End; page++)
                {
                    Fill(page, destination.Slice(read++ * PageSize.Bytes, PageSize.Bytes));
                }
            }

            return read;
        }

        public int Sample(ReadOnlySpan<PageRange> pages, PageSampler sampler, Span<ulong> samples)
        {
            var done = 0;
            var bytes = new byte[PageSize.Bytes];
            foreach (var range in pages)
            {
                for (var page = range.Start; page < range.End && done < samples.Length; page++)
                {
                    Fill(page, bytes);
                    samples[done++] = sampler.Sample(bytes);
                }
            }

            return done;
        }

        public void Execute(IPageStore store, Span<MergePlan> plans)
        {
            foreach (ref var plan in plans)
            {
                // One page in some has changed by then.
                var all = plan.Start % 13 != 0;
                plan.DonePages = all ? plan.Count : 0;
                plan.Outcome = all ? PlanOutcome.Done : PlanOutcome.ContentChanged;
            }
        }

        private void Fill(ulong page, Span<byte> bytes)
        {
            // Of four runs of pages one is equal to the other process's, one zero, and two are its own.
            var kind = (page >> 4) % 4;
            var content = kind switch { 0 => page, 1 => 0ul, _ => page | ((ulong)side << 40) | (version << 48) };
            for (var at = 0; at < bytes.Length; at += sizeof(ulong))
            {
                BinaryPrimitives.WriteUInt64LittleEndian(bytes[at..], content);
            }
        }
    }

    private sealed class Store(string domain) : IPageStore
    {
        public string Domain => domain;

        public void Write(uint slot, ReadOnlySpan<byte> pages)
        {
        }

        public void Read(uint slot, Span<byte> pages) => pages.Clear();

        public void Reclaim(ReadOnlySpan<uint> slots, Span<bool> freed)
        {
        }
    }
}
