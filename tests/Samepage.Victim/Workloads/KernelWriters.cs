using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Samepage.Victims;

/// <summary>
/// Writes by the kernel on the program's behalf: pread() from a file, read() from a pipe, process_vm_writev() to
/// itself. Every thread owns 128 bytes of every page; all of them are checked before the next write into that page.
/// </summary>
internal sealed class KernelWriters : Workload
{
    private const int SliceWords = 16, SliceBytes = SliceWords * 8, Patterns = 64, StepOperations = 500;

    private readonly SafeFileHandle file;

    internal KernelWriters(VictimOptions options)
        : base("kernel", options)
    {
        if (options.Threads > Region.PageWords / SliceWords)
        {
            throw new ArgumentException($"at most {Region.PageWords / SliceWords} threads with mode kernel");
        }

        FillAll();
        string path = Path.GetTempFileName();
        file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, FileOptions.DeleteOnClose);
        var pattern = new ulong[SliceWords];
        for (int id = 0; id < Patterns; id++)
        {
            FillPattern(id, pattern);
            RandomAccess.Write(file, MemoryMarshal.AsBytes(pattern.AsSpan()), id * SliceBytes);
        }
    }

    internal override void Sabotage(ref Dice dice) =>
        Region.Words(dice.Below(Region.Pages))[dice.Below(SliceWords)] ^= 1;

    protected override void Run(int thread, CancellationToken stop)
    {
        (int read, int write) = MakePipe();
        var dice = new Dice(Options.Seed + (ulong)thread);
        // What each slice holds: a pattern, or -1 for the content it started with.
        var last = new int[Region.Pages];
        var before = new int[Region.Pages];
        Array.Fill(last, -1);
        Array.Fill(before, -1);
        var pattern = new ulong[SliceWords];
        while (!stop.IsCancellationRequested)
        {
            int part = Region.Pages / 8;
            int first = dice.Below(8) * part;
            for (int i = 0; i < StepOperations; i++)
            {
                int page = first + dice.Below(part);
                Check(thread, page, last[page], before[page]);
                before[page] = last[page];
                if (dice.Below(4) != 0)
                {
                    // The original content comes back by stores, otherwise no two pages would ever be alike.
                    Restore(thread, page);
                    last[page] = -1;
                    continue;
                }

                int id = dice.Below(Patterns);
                FillPattern(id, pattern);
                nint target = Region.AddressOf(page) + (thread * SliceBytes);
                if (Write(dice.Below(3), target, id, pattern, read, write) != SliceBytes)
                {
                    CountWrong();
                }

                last[page] = id;
            }

            CountOperations(StepOperations);
            Thread.Sleep(1);
        }
    }

    private static void FillPattern(int id, Span<ulong> words)
    {
        for (int word = 0; word < words.Length; word++)
        {
            words[word] = Content.Mix(0xABC_0000UL + ((ulong)id << 8) + (ulong)word);
        }
    }

    private static (int Read, int Write) MakePipe()
    {
        // SAFETY: pipe2 writes exactly two ints into the array on this stack.
        unsafe
        {
            int* ends = stackalloc int[2];
            return Native.pipe2(ends, Native.O_CLOEXEC) == 0 ? (ends[0], ends[1]) : throw Native.Failed("pipe2");
        }
    }

    private nint Write(int way, nint target, int id, ulong[] pattern, int readEnd, int writeEnd)
    {
        // SAFETY: source and target are 128 bytes each, the first pinned, the second in the region, which stays mapped.
        unsafe
        {
            fixed (ulong* source = pattern)
            {
                switch (way)
                {
                    case 0:
                        return Native.pread((int)file.DangerousGetHandle(), target, SliceBytes, id * SliceBytes);
                    case 1:
                        return Native.write(writeEnd, (nint)source, SliceBytes) == SliceBytes
                            ? Native.read(readEnd, target, SliceBytes)
                            : throw Native.Failed("write");
                    default:
                        var local = new Native.IoVector { Base = (nint)source, Bytes = SliceBytes };
                        var remote = new Native.IoVector { Base = target, Bytes = SliceBytes };
                        return Native.process_vm_writev(Environment.ProcessId, &local, 1, &remote, 1, 0);
                }
            }
        }
    }

    private void Check(int thread, int page, int last, int before)
    {
        if (Holds(thread, page, last))
        {
            return;
        }

        if (Holds(thread, page, before))
        {
            CountLost();
        }
        else
        {
            CountWrong();
        }
    }

    private bool Holds(int thread, int page, int pattern)
    {
        ReadOnlySpan<ulong> slice = Region.Words(page).Slice(thread * SliceWords, SliceWords);
        Span<ulong> expected = stackalloc ulong[SliceWords];
        Expect(thread, page, pattern, expected);
        return slice.SequenceEqual(expected);
    }

    private void Expect(int thread, int page, int pattern, Span<ulong> expected)
    {
        if (pattern >= 0)
        {
            FillPattern(pattern, expected);
            return;
        }

        for (int word = 0; word < SliceWords; word++)
        {
            expected[word] = Content[page, (thread * SliceWords) + word];
        }
    }

    private void Restore(int thread, int page) =>
        Expect(thread, page, -1, Region.Words(page).Slice(thread * SliceWords, SliceWords));
}
