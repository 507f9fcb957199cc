using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;

namespace Samepage.Linux;

/// <summary>
/// What the next daemon has to know of a target. It is kept in the target's control area, so it lives exactly as long as
/// what it describes: domain and ranges.
/// <c>[u32 domain bytes][u32 ranges, ~0 = everything][domain UTF-8, padded to 8][start, end]...</c>
/// </summary>
internal sealed record Adoption(string Domain, IReadOnlyList<PageRange>? Ranges, SafeFileHandle? Control = null)
{
    /// <summary>Most ranges a target can be attached with, so that the record fits.</summary>
    public const int RangesMax = 128;

    /// <summary>Longest name of a domain in UTF-8.</summary>
    public const int DomainBytesMax = 256;

    public void Write(ControlArea area)
    {
        byte[] record = new byte[ControlLayout.AdoptionBytes];
        int domainBytes = Encoding.UTF8.GetBytes(Domain, record.AsSpan(8, DomainBytesMax));
        BitConverter.TryWriteBytes(record, domainBytes);
        BitConverter.TryWriteBytes(record.AsSpan(4), Ranges?.Count ?? -1);
        int at = 8 + ((domainBytes + 7) & ~7);
        foreach (PageRange range in Ranges ?? [])
        {
            BitConverter.TryWriteBytes(record.AsSpan(at), range.Start);
            BitConverter.TryWriteBytes(record.AsSpan(at + 8), range.End);
            at += 16;
        }

        Marshal.Copy(record, 0, area.Address + ControlLayout.Adoption, record.Length);
    }

    /// <summary>From now on there is nothing to adopt.</summary>
    public static void Clear(ControlArea area) => Marshal.WriteInt64(area.Address + ControlLayout.Adoption, 0);

    public static Adoption? Parse(ReadOnlySpan<byte> record)
    {
        int domainBytes = BitConverter.ToInt32(record);
        int count = BitConverter.ToInt32(record[4..]);
        if (domainBytes is <= 0 or > DomainBytesMax || count is < -1 or > RangesMax)
        {
            return null;
        }

        string domain = Encoding.UTF8.GetString(record.Slice(8, domainBytes));
        int at = 8 + ((domainBytes + 7) & ~7);
        var ranges = new List<PageRange>();
        for (int i = 0; i < count; i++, at += 16)
        {
            var range = new PageRange(BitConverter.ToUInt64(record[at..]), BitConverter.ToUInt64(record[(at + 8)..]));
            if (range.IsEmpty)
            {
                return null;
            }

            ranges.Add(range);
        }

        return new Adoption(domain, count < 0 ? null : ranges);
    }

    /// <summary>Looks for our control area among a process's descriptors; null when there is none. Never throws for a
    /// process that goes away or is not ours to look at.</summary>
    public static Adoption? TryRead(int pid, string home)
    {
        using ProcReader? proc = ProcReader.TryOpen(pid);
        if (proc is null || FindControl(proc) is not { } number)
        {
            return null;
        }

        SafeFileHandle process = Pidfd.Open(pid);
        using (process)
        {
            SafeFileHandle control = Pidfd.GetDescriptor(process, number);
            if (control.IsInvalid)
            {
                return null;
            }

            using var area = ControlArea.Adopt(control);
            if (area is null || !DaemonMark.IsFrom(area, home) || DaemonMark.LivingOther(area) is not null)
            {
                return null;
            }

            byte[] record = new byte[ControlLayout.AdoptionBytes];
            Marshal.Copy(area.Address + ControlLayout.Adoption, record, 0, record.Length);
            return Parse(record);
        }
    }

    /// <summary>The descriptor number of a process's own control area. A forked child has its parent's descriptor, too, until
    /// it executes another program: that area, its program and its userfaultfds are about the parent's memory.</summary>
    public static int? FindControl(ProcReader proc)
    {
        var numbers = new List<int>();
        if (proc.ReadDescriptors(numbers) != 0)
        {
            return null;
        }

        foreach (int number in numbers)
        {
            if (number > 2 && proc.ReadLink($"fd/{number}") is { } link
                && link.StartsWith("/memfd:samepage-control", StringComparison.Ordinal)
                && IsAreaOf(proc, number))
            {
                return number;
            }
        }

        return null;
    }

    private static bool IsAreaOf(ProcReader proc, int number)
    {
        using SafeFileHandle area = proc.Open($"fd/{number}", out _);
        Span<byte> owner = stackalloc byte[2 * sizeof(ulong)];
        return !area.IsInvalid && Fcntl.Read(area, owner, ControlLayout.TargetPid) == owner.Length
            && proc.TryReadStat(new ProcBuffer(), out ProcessStat stat)
            && BitConverter.ToUInt64(owner) == (ulong)proc.Pid
            && BitConverter.ToUInt64(owner[sizeof(ulong)..]) == stat.StartTicks;
    }
}
