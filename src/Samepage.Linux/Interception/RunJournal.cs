using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Interception;

/// <summary>What can happen to what a command has registered.</summary>
internal enum RunEvent : uint
{
    None,

    /// <summary>A process appears; A is its start time.</summary>
    Appear,

    /// <summary>A process has gone.</summary>
    Vanish,

    /// <summary>Pages from A to B are registered.</summary>
    Register,

    /// <summary>Pages from A to B are not registered any more.</summary>
    Unregister,

    /// <summary>A is 1: the whole process is registered; 0: nothing of it.</summary>
    RegisterAll,

    /// <summary>Pages from A to B belong to the shared memory area C of /dev/ksm.</summary>
    RegisterInArea,

    /// <summary>Shared memory area C has no regions any more.</summary>
    EmptyArea,

    /// <summary>Shared memory area C appears.</summary>
    OpenArea,

    /// <summary>The last descriptor of shared memory area C is closed.</summary>
    CloseArea,

    /// <summary>The process has executed another program.</summary>
    Execute,

    /// <summary>Pages from A to B of a whole-process registration are excepted.</summary>
    Except,
}

/// <summary>One event.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct RunEntry(RunEvent Event, int Pid, ulong A, ulong B, ulong C)
{
    internal PageRange Pages => new(A, B);
}

/// <summary>
/// Events of one command in a memory file, so that they outlive the daemon: whatever a program was told is done is in
/// here before it is told. A daemon killed in the middle of an append has not counted the entry yet.
/// </summary>
internal sealed unsafe class RunJournal : IDisposable
{
    private const int HeaderBytes = 64;
    private const ulong Magic = 0x31_6e_75_72_67_70_6d_73; // "smpgrun1"

    private readonly SharedPages _pages;
    private readonly int _capacity;

    private RunJournal(SafeFileHandle file, int capacity)
    {
        File = file;
        _capacity = capacity;
        _pages = new SharedPages((int)file.DangerousGetHandle(), Bytes(capacity), writable: true);
    }

    internal SafeFileHandle File { get; }

    internal int Count => (int)Marshal.ReadInt64(_pages.Address, 8);

    internal bool IsFull => Count == _capacity;

    /// <summary>A new, empty one.</summary>
    internal static RunJournal Create(int capacity)
    {
        var file = new SafeFileHandle(MemoryFile.Create("samepage-run", Bytes(capacity)), ownsHandle: true);
        var journal = new RunJournal(file, capacity);
        Marshal.WriteInt64(journal._pages.Address, 16, capacity);
        Marshal.WriteInt64(journal._pages.Address, (long)Magic);
        return journal;
    }

    /// <summary>The one an earlier daemon has written; null when this is none.</summary>
    internal static RunJournal? TryOpen(SafeFileHandle file)
    {
        Span<byte> header = stackalloc byte[24];
        if (Fcntl.Read(file, header, 0) != header.Length || MemoryMarshal.Read<ulong>(header) != Magic
            || !Mount.TryStat(file, out Mount.statx stat))
        {
            return null;
        }

        long capacity = MemoryMarshal.Read<long>(header[16..]);
        return capacity is > 0 and < 1 << 24 && stat.stx_size >= (ulong)Bytes((int)capacity)
            ? new RunJournal(file, (int)capacity)
            : null;
    }

    internal void Append(in RunEntry entry)
    {
        int count = Count;
        Invariant.Check(count < _capacity);
        *At(count) = entry;
        Thread.MemoryBarrier();
        Marshal.WriteInt64(_pages.Address, 8, count + 1);
    }

    internal IEnumerable<RunEntry> Entries()
    {
        int count = Math.Clamp(Count, 0, _capacity);
        for (int i = 0; i < count; i++)
        {
            yield return Read(i);
        }
    }

    public void Dispose()
    {
        _pages.Dispose();
        File.Dispose();
    }

    private static long Bytes(int capacity) => HeaderBytes + ((long)capacity * sizeof(RunEntry));

    private RunEntry Read(int index) => *At(index);

    // SAFETY: every index is below the capacity that the mapping was made for.
    private RunEntry* At(int index) => (RunEntry*)(_pages.Address + HeaderBytes) + index;
}
