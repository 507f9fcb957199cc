using System.Globalization;
using Xunit;

namespace Samepage.Tests;

/// <summary>What can be said of the library's memory without a daemon. With one: Samepage.Linux.Tests/Library.</summary>
public sealed class MergeableMemoryTests
{
    private static readonly MergeableMemoryOptions Alone = new() { AllowUnregistered = true };

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1)]
    [InlineData(4096)]
    [InlineData(1_000_001)]
    public async Task It_is_zeroed_page_aligned_and_as_long_as_asked_for(int length)
    {
        using var client = new SamepageClient(RunningDaemon.NewSocket());
        await using MergeableMemory memory = await MergeableMemory.AllocateAsync(client, length, Alone, Cancel);
        Assert.False(memory.IsRegistered);
        Assert.Equal((length, length, 0ul), (memory.Length, memory.Memory.Length, memory.Address % 4096));
        Assert.Equal(-1, memory.GetSpan().IndexOfAnyExcept((byte)0));
        memory.Memory.Span.Fill(7);
        Assert.Equal(length, memory.GetSpan().Count((byte)7));
    }

    [Fact]
    public async Task Without_a_daemon_nothing_is_allocated_unless_allowed()
    {
        using var client = new SamepageClient(RunningDaemon.NewSocket());
        SamepageException none = await Assert.ThrowsAsync<SamepageException>(
            () => MergeableMemory.AllocateAsync(client, 12345, null, Cancel));
        Assert.Equal(SamepageError.NoDaemon, none.Error);
        Assert.Throws<SamepageException>(() => MergeableMemory.Allocate(client, 1));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => MergeableMemory.AllocateAsync(client, 0, Alone, Cancel));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            () => MergeableMemory.AllocateAsync(client, MergeableMemory.LengthMax + 1, Alone, Cancel));
    }

    [Fact]
    public async Task Disposed_memory_stays_for_who_has_pinned_it_and_is_unmapped_with_the_last_handle()
    {
        using var client = new SamepageClient(RunningDaemon.NewSocket());
        MergeableMemory memory = await MergeableMemory.AllocateAsync(client, 1 << 20, Alone, Cancel);
        memory.GetSpan()[5] = 42;
        var first = memory.Memory.Pin();
        var second = memory.Memory[5..].Pin();
        ((IDisposable)memory).Dispose();
        ((IDisposable)memory).Dispose(); // once more does nothing
        Assert.Throws<ObjectDisposedException>(() => memory.GetSpan());
        Assert.Throws<ObjectDisposedException>(() => memory.Pin());
        first.Dispose();
        Assert.Contains(" rw-p ", MappingAt(memory.Address), StringComparison.Ordinal);
        second.Dispose();
        await memory.DisposeAsync();
        Assert.DoesNotContain(" rw-p ", MappingAt(memory.Address), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Threads_that_pin_while_another_disposes_either_get_the_memory_or_an_exception()
    {
        using var client = new SamepageClient(RunningDaemon.NewSocket());
        for (int round = 0; round < 200; round++)
        {
            MergeableMemory memory = await MergeableMemory.AllocateAsync(client, 4096, Alone, Cancel);
            using var begin = new Barrier(3);
            Task[] pinners = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() => PinUntilDisposed(memory, begin)))];
            begin.SignalAndWait(Cancel);
            await memory.DisposeAsync();
            await Task.WhenAll(pinners);
        }
    }

    private static void PinUntilDisposed(MergeableMemory memory, Barrier begin)
    {
        begin.SignalAndWait();
        try
        {
            while (true)
            {
                using var handle = memory.Pin(8);
                Assert.Contains("-", MappingAt(memory.Address), StringComparison.Ordinal);
            }
        }
        catch (ObjectDisposedException)
        {
            // As it has to end.
        }
    }

    /// <summary>The line of /proc/self/maps an address lies in; empty when it is not mapped.</summary>
    private static string MappingAt(ulong address) => File.ReadLines("/proc/self/maps").FirstOrDefault(line =>
    {
        string[] ends = line.Split(' ')[0].Split('-');
        return address >= ulong.Parse(ends[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            && address < ulong.Parse(ends[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }) ?? "";
}
