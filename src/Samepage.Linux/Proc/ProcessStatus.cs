using System.Buffers.Text;

namespace Samepage.Linux.Proc;

/// <summary>What is needed of /proc/PID/status.</summary>
internal struct ProcessStatus
{
    /// <summary>One letter (R, S, D, T, t, Z, X, I); 0 if the line was missing.</summary>
    internal char State;

    /// <summary>Thread group id.</summary>
    internal int Tgid;

    /// <summary>Real user id.</summary>
    internal uint RealUid;

    /// <summary>Effective user id.</summary>
    internal uint EffectiveUid;

    /// <summary>Number of threads.</summary>
    internal int Threads;

    /// <summary>Seccomp mode: 0 none, 1 strict, 2 filter.</summary>
    internal int SeccompMode;

    /// <summary>Number of seccomp filters (line Seccomp_filters, Linux 5.9); -1 where the kernel does not
    /// say.</summary>
    internal int SeccompFilterCount;

    /// <summary>Effective capabilities, one bit each.</summary>
    internal ulong Capabilities;

    /// <summary>True for a kernel thread (line Kthread since Linux 6.8; before, no VmSize line tells it).</summary>
    internal bool IsKernelThread;

    /// <summary>Parses the text; false when the lines every process has are missing.</summary>
    internal static bool TryParse(ReadOnlySpan<byte> text, out ProcessStatus status)
    {
        status = new ProcessStatus { SeccompFilterCount = -1 };
        bool hasTgid = false, hasUid = false, hasKthread = false, hasMemory = false;
        ReadOnlySpan<byte> rest = text;
        while (ProcText.TryNextLine(ref rest, out ReadOnlySpan<byte> line))
        {
            ReadOnlySpan<byte> key = ProcText.NextField(ref line, (byte)':');
            if (key.SequenceEqual("State"u8))
            {
                line = line.TrimStart("\t "u8);
                status.State = line.IsEmpty ? '\0' : (char)line[0];
            }
            else if (key.SequenceEqual("Tgid"u8))
            {
                hasTgid = TryInt(line, out status.Tgid);
            }
            else if (key.SequenceEqual("Uid"u8))
            {
                hasUid = TryUids(line, ref status);
            }
            else if (key.SequenceEqual("Threads"u8))
            {
                _ = TryInt(line, out status.Threads);
            }
            else if (key.SequenceEqual("Seccomp"u8))
            {
                _ = TryInt(line, out status.SeccompMode);
            }
            else if (key.SequenceEqual("Seccomp_filters"u8))
            {
                status.SeccompFilterCount = TryInt(line, out int filters) ? filters : -1;
            }
            else if (key.SequenceEqual("CapEff"u8))
            {
                line = line.TrimStart("\t "u8);
                _ = Utf8Parser.TryParse(line, out status.Capabilities, out _, 'x');
            }
            else if (key.SequenceEqual("Kthread"u8))
            {
                hasKthread = TryInt(line, out int kernel);
                status.IsKernelThread = kernel != 0;
            }
            else if (key.SequenceEqual("VmSize"u8))
            {
                hasMemory = true;
            }
        }

        if (!hasKthread)
        {
            status.IsKernelThread = !hasMemory && status.State is not ('Z' or 'X');
        }

        return hasTgid && hasUid && status.State != '\0';
    }

    private static bool TryUids(ReadOnlySpan<byte> line, ref ProcessStatus status)
    {
        ReadOnlySpan<byte> rest = line.TrimStart("\t "u8);
        if (!ProcText.TryDecimal(ProcText.NextField(ref rest, (byte)'\t'), out ulong real) ||
            !ProcText.TryDecimal(ProcText.NextField(ref rest, (byte)'\t'), out ulong effective) ||
            real > uint.MaxValue || effective > uint.MaxValue)
        {
            return false;
        }

        status.RealUid = (uint)real;
        status.EffectiveUid = (uint)effective;
        return true;
    }

    private static bool TryInt(ReadOnlySpan<byte> text, out int value)
    {
        bool ok = ProcText.TryLeadingDecimal(text, out ulong number) && number <= int.MaxValue;
        value = ok ? (int)number : 0;
        return ok;
    }
}

/// <summary>What is needed of /proc/PID/stat.</summary>
internal struct ProcessStat
{
    /// <summary>State letter.</summary>
    internal char State;

    /// <summary>Parent's process id.</summary>
    internal int ParentPid;

    /// <summary>Start time in clock ticks since boot (field 22).</summary>
    internal ulong StartTicks;

    /// <summary>Parses the text. The name may hold any byte, parentheses too: fields count from the last one.</summary>
    internal static bool TryParse(ReadOnlySpan<byte> text, out ProcessStat stat)
    {
        stat = default;
        int close = text.LastIndexOf((byte)')');
        if (close < 0 || close + 2 >= text.Length)
        {
            return false;
        }

        ReadOnlySpan<byte> rest = text[(close + 2)..].TrimEnd((byte)'\n');
        for (int field = 3; field <= 22; field++)
        {
            ReadOnlySpan<byte> word = ProcText.NextField(ref rest, (byte)' ');
            if (word.IsEmpty)
            {
                return false;
            }

            if (field == 3)
            {
                stat.State = (char)word[0];
            }
            else if (field == 4)
            {
                if (!ProcText.TryDecimal(word, out ulong parent) || parent > int.MaxValue)
                {
                    return false;
                }

                stat.ParentPid = (int)parent;
            }
            else if (field == 22)
            {
                return ProcText.TryDecimal(word, out stat.StartTicks);
            }
        }

        return false;
    }
}

/// <summary>/proc/PID/statm: sizes in pages. Cheap to read; a change of it is a sign that mappings may have
/// changed.</summary>
/// <param name="Size">All mapped pages.</param>
/// <param name="Resident">Resident pages.</param>
/// <param name="Shared">Resident pages of files and shared memory.</param>
internal readonly record struct ProcessStatm(ulong Size, ulong Resident, ulong Shared)
{
    /// <summary>Parses the text.</summary>
    internal static bool TryParse(ReadOnlySpan<byte> text, out ProcessStatm statm)
    {
        ReadOnlySpan<byte> rest = text.TrimEnd((byte)'\n');
        bool ok = ProcText.TryDecimal(ProcText.NextField(ref rest, (byte)' '), out ulong size) &
            ProcText.TryDecimal(ProcText.NextField(ref rest, (byte)' '), out ulong resident) &
            ProcText.TryDecimal(ProcText.NextField(ref rest, (byte)' '), out ulong shared);
        statm = ok ? new ProcessStatm(size, resident, shared) : default;
        return ok;
    }
}

/// <summary>How wide a program's words are, as its auxiliary vector shows.</summary>
internal enum WordWidth
{
    /// <summary>The vector says nothing (empty for kernel threads and zombies).</summary>
    Unknown,

    /// <summary>A 32-bit program.</summary>
    Bits32,

    /// <summary>A 64-bit program.</summary>
    Bits64,
}

/// <summary>/proc/PID/auxv.</summary>
internal static class AuxiliaryVector
{
    private const ulong ProgramHeaderEntrySize = 4; // AT_PHENT
    private const ulong Elf64ProgramHeaderBytes = 56;
    private const ulong Elf32ProgramHeaderBytes = 32;

    /// <summary>Tells the width: the size of a program header entry differs between the two ELF classes.</summary>
    internal static WordWidth Width(ReadOnlySpan<byte> vector)
    {
        for (int i = 0; i + 16 <= vector.Length; i += 16)
        {
            if (BitConverter.ToUInt64(vector[i..]) == ProgramHeaderEntrySize &&
                BitConverter.ToUInt64(vector[(i + 8)..]) == Elf64ProgramHeaderBytes)
            {
                return WordWidth.Bits64;
            }
        }

        for (int i = 0; i + 8 <= vector.Length; i += 8)
        {
            if (BitConverter.ToUInt32(vector[i..]) == ProgramHeaderEntrySize &&
                BitConverter.ToUInt32(vector[(i + 4)..]) == Elf32ProgramHeaderBytes)
            {
                return WordWidth.Bits32;
            }
        }

        return WordWidth.Unknown;
    }
}
