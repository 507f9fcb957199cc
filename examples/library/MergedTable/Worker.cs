using System.Globalization;
using System.Runtime.InteropServices;

namespace Samepage.Examples;

/// <summary>
/// One worker: computes the table into mergeable memory, says "ready ADDRESS LENGTH" and then obeys lines:
/// "write STEP MARK" changes one entry in every STEP-th page, "check" answers "good" or "bad N" (wrong entries), "release" frees the
/// table, "quit".
/// </summary>
internal static class Worker
{
    private const int EntriesPerPage = 512;

    internal static async Task Run(string socket, int bytes)
    {
        using var client = new SamepageClient(socket);
        await using MergeableMemory memory = await MergeableMemory.AllocateAsync(client, bytes);
        var written = new Dictionary<int, ulong>();
        Fill(Entries(memory));
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"ready {memory.Address:x} {memory.Length}"));
        while (Console.ReadLine() is { } line && line != "quit")
        {
            string[] words = line.Split(' ');
            if (line == "release")
            {
                await memory.DisposeAsync();
                Console.WriteLine("released");
            }
            else if (words is ["write", var step, var mark])
            {
                Write(
                    Entries(memory), written,
                    int.Parse(step, CultureInfo.InvariantCulture), ulong.Parse(mark, CultureInfo.InvariantCulture));
                Console.WriteLine("written");
            }
            else
            {
                int wrong = Wrong(Entries(memory), written);
                Console.WriteLine(wrong == 0 ? "good" : $"bad {wrong}");
            }
        }
    }

    // Any Span<byte> of it is ordinary memory; here it is seen as numbers.
    private static Span<ulong> Entries(MergeableMemory memory) => MemoryMarshal.Cast<byte, ulong>(memory.GetSpan());

    private static void Fill(Span<ulong> entries)
    {
        for (int i = 0; i < entries.Length; i++)
        {
            entries[i] = Value(i);
        }
    }

    private static void Write(Span<ulong> entries, Dictionary<int, ulong> written, int step, ulong mark)
    {
        for (int i = 7; i < entries.Length; i += step * EntriesPerPage)
        {
            entries[i] = mark;
            written[i] = mark;
        }
    }

    private static int Wrong(ReadOnlySpan<ulong> entries, Dictionary<int, ulong> written)
    {
        int wrong = 0;
        for (int i = 0; i < entries.Length; i++)
        {
            wrong += entries[i] == written.GetValueOrDefault(i, Value(i)) ? 0 : 1;
        }

        return wrong;
    }

    /// <summary>The table: a number for every index that takes a while to compute and looks like nothing.</summary>
    private static ulong Value(int index)
    {
        ulong x = ((ulong)index + 1) * 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
