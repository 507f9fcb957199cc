using System.Buffers.Binary;
using System.Security.Cryptography;
using Samepage.Simulation;

namespace Samepage.Linux.Tests.Live;

/// <summary>
/// The checker of the simulated machine, asked about real processes: bytes from /proc/PID/mem, frames from
/// /proc/PID/pagemap.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class CheckerTests
{
    private const int Pages = 32;

    [Fact]
    public void The_simulators_checker_finds_nothing_wrong_with_merged_and_rewritten_processes()
    {
        using var harness = new LiveHarness();
        using LivePuppet first = LivePuppet.Start(), second = LivePuppet.Start();
        ulong a = first.MapFilled(Pages, seed: 1), b = second.MapFilled(Pages, seed: 9);
        RegisteredTarget[] targets =
        [
            harness.Attach(first.Pid, [Puppet.Pages(a, Pages)]), harness.Attach(second.Pid, [Puppet.Pages(b, Pages)]),
        ];
        var observed = new ObservedPuppet[]
        {
            new(first.Pid, a, targets[0].Domain, seed: 1), new(second.Pid, b, targets[1].Domain, seed: 9),
        };
        harness.Merge();
        Check(harness, targets, observed);

        // One page of each pair of equal ones becomes another's equal.
        first.Fill(a, 1, seed: 41);
        second.Fill(b + PageSize.Bytes, 1, seed: 41);
        observed[0].Bytes[0] = observed[1].Bytes[1] = 41;
        var wrong = new List<Violation>();
        MemoryChecker.CheckPages(observed, wrong);
        Assert.Empty(wrong);
        harness.Merge();
        Check(harness, targets, observed);

        // And it would see a byte that is not the written one.
        observed[1].Bytes[7] ^= 1;
        MemoryChecker.CheckPages(observed, wrong);
        Assert.Equal("contents", Assert.Single(wrong).Check);
        harness.DetachAll();
    }

    private static void Check(LiveHarness harness, RegisteredTarget[] targets, ObservedPuppet[] observed)
    {
        var wrong = new List<Violation>();
        MemoryChecker.CheckPages(observed, wrong);
        MemoryChecker.CheckCounters(
            harness.Engine.Status(), [.. targets.Select(target => target.Status())], observed, (_, _) => true, wrong);

        // The last page of a mapping is never merged.
        MemoryChecker.CheckConverged(
            targets[0].Domain, observed, (process, page) => page < ((ObservedPuppet)process).LastPage, wrong);
        Assert.Empty(wrong);
        Assert.True(harness.Engine.Status().PagesSharing > Pages);
    }

    /// <summary>Memory that a puppet filled: page i with the byte (seed + i) | 1.</summary>
    private sealed class ObservedPuppet(int pid, ulong address, string domain, int seed) : IObservedProcess
    {
        private const ulong Present = 1ul << 63, FileOrShared = 1ul << 61, FrameMask = (1ul << 55) - 1;

        /// <summary>The byte each page is full of.</summary>
        public byte[] Bytes { get; } = [.. Enumerable.Range(0, Pages).Select(i => (byte)((seed + i) | 1))];

        public ulong LastPage => (address >> PageSize.Shift) + Pages - 1;

        public string Name => $"puppet {pid}";

        public bool IsAlive => true;

        public IEnumerable<ObservedPage> Observe()
        {
            byte[] memory = Read("mem", address, Pages * PageSize.Bytes);
            byte[] entries = Read("pagemap", (address >> PageSize.Shift) * 8, Pages * 8);
            for (int i = 0; i < Pages; i++)
            {
                var written = new byte[PageSize.Bytes];
                written.AsSpan().Fill(Bytes[i]);
                ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(entries.AsSpan(i * 8));
                bool isShared = (entry & (Present | FileOrShared)) == (Present | FileOrShared);

                // Whether an entry is writable, the kernel does not say; that the bytes stay, the next look does.
                yield return new ObservedPage(
                    (address >> PageSize.Shift) + (ulong)i,
                    Digest(written),
                    Digest(memory.AsSpan(i * PageSize.Bytes, PageSize.Bytes)),
                    isShared,
                    IsWritable: false,
                    isShared ? domain : null,
                    isShared ? (uint)(entry & FrameMask) : 0);
            }
        }

        private static UInt128 Digest(ReadOnlySpan<byte> page) =>
            BinaryPrimitives.ReadUInt128LittleEndian(SHA256.HashData(page));

        private byte[] Read(string file, ulong offset, int length)
        {
            using FileStream stream = new($"/proc/{pid}/{file}", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 0);
            stream.Position = (long)offset;
            var bytes = new byte[length];
            stream.ReadExactly(bytes);
            return bytes;
        }
    }
}
