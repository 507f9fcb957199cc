using System.Globalization;
using System.Runtime.InteropServices;

namespace Samepage.Examples;

/// <summary>
/// A process's own memory: the pages of its private writable mappings that are there (in memory or swapped out).
/// </summary>
internal sealed class TargetMemory : IDisposable
{
    private const ulong Present = 1ul << 63, Swapped = 1ul << 62;
    private readonly int _pid;
    private readonly FileStream _memory;

    internal TargetMemory(int pid)
    {
        _pid = pid;
        _memory = new FileStream(
            $"/proc/{pid}/mem", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
    }

    /// <summary>Addresses in order.</summary>
    internal IEnumerable<ulong> PresentPages()
    {
        using var pagemap = new FileStream(
            $"/proc/{_pid}/pagemap", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        foreach (string line in File.ReadLines($"/proc/{_pid}/maps").ToArray())
        {
            string[] words = line.Split(' ', 3);
            if (!words[1].StartsWith("rw", StringComparison.Ordinal) || !words[1].EndsWith('p'))
            {
                continue;
            }

            string[] ends = words[0].Split('-');
            ulong start = ulong.Parse(ends[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            ulong end = ulong.Parse(ends[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            var entries = new ulong[512];
            for (ulong at = start; at < end; at += (ulong)entries.Length << PageSize.Shift)
            {
                int count = (int)Math.Min((ulong)entries.Length, (end - at) >> PageSize.Shift);
                pagemap.Seek((long)(at >> PageSize.Shift) * sizeof(ulong), SeekOrigin.Begin);
                pagemap.ReadExactly(MemoryMarshal.AsBytes(entries.AsSpan(0, count)));
                for (int i = 0; i < count; i++)
                {
                    if ((entries[i] & (Present | Swapped)) != 0)
                    {
                        yield return at + ((ulong)i << PageSize.Shift);
                    }
                }
            }
        }
    }

    internal void Read(ulong address, Span<byte> page)
    {
        _memory.Seek((long)address, SeekOrigin.Begin);
        _memory.ReadExactly(page);
    }

    public void Dispose() => _memory.Dispose();
}
