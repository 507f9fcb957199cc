using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Program;

/// <summary>
/// The daemon's side of one target's control area (<see cref="ControlLayout"/>): writes operations, reads results,
/// hands out slots.
/// </summary>
internal sealed class ControlArea : IDisposable
{
    private readonly SharedPages _pages;
    private int _nextSlot;

    private readonly SafeFileHandle _file;

    private ControlArea(SafeFileHandle file)
    {
        _file = file;
        _pages = new SharedPages(Descriptor, ControlLayout.TotalBytes, writable: true);
    }

    /// <summary>The memfd.</summary>
    public int Descriptor => (int)_file.DangerousGetHandle();

    /// <summary>Where the daemon has it mapped.</summary>
    public nint Address => _pages.Address;

    /// <summary>Where the target has it mapped; 0 before the bootstrap.</summary>
    public ulong TargetBase => Header(ControlLayout.Base);

    /// <summary>A new area with program and stubs in place.</summary>
    public static ControlArea Create()
    {
        int descriptor = MemoryFile.Create("samepage-control", ControlLayout.TotalBytes);
        var area = new ControlArea(new SafeFileHandle(descriptor, ownsHandle: true));
        area.SetHeader(ControlLayout.MagicOffset, ControlLayout.Magic);
        Marshal.WriteInt32(area.Address + ControlLayout.Version, (int)ControlLayout.CurrentVersion);
        Marshal.Copy(MergeProgram.Current.Code, 0, area.Address + ControlLayout.Code, MergeProgram.Current.Code.Length);
        return area;
    }

    /// <summary>The area a dead daemon left in a target; null when it is not one of ours or of another version.</summary>
    public static ControlArea? Adopt(SafeFileHandle descriptor)
    {
        if (!Mount.TryStat(descriptor, out Mount.statx stat) || stat.stx_size != ControlLayout.TotalBytes)
        {
            descriptor.Dispose();
            return null;
        }

        var area = new ControlArea(descriptor);
        bool ours = area.Header(ControlLayout.MagicOffset) == ControlLayout.Magic
            && Marshal.ReadInt32(area.Address + ControlLayout.Version) == ControlLayout.CurrentVersion
            && area.TargetBase != 0;
        if (!ours)
        {
            area.Dispose();
            return null;
        }

        return area;
    }

    /// <summary>
    /// A free slot with its stub, or -1 when all are used up. A slot that a daemon's death left in use stays so for ever:
    /// a signal handler may still be between it and the thread's own code.
    /// </summary>
    public int TakeSlot()
    {
        for (int tried = 0; tried < ControlLayout.SlotCount; tried++)
        {
            int slot = _nextSlot;
            if (Marshal.ReadInt64(SlotAddress(slot) + SlotLayout.State) == 0)
            {
                byte[] stub = RestoreStub.ForControlArea.ToArray();
                Marshal.Copy(stub, 0, Address + ControlLayout.Stubs + slot * ControlLayout.SlotBytes, stub.Length);
                return slot;
            }

            _nextSlot = (_nextSlot + 1) % ControlLayout.SlotCount;
        }

        return -1;
    }

    /// <summary>True when a thread may still have to come back through a slot.</summary>
    public bool HasSlotsInUse
    {
        get
        {
            for (int slot = 0; slot < ControlLayout.SlotCount; slot++)
            {
                if (Marshal.ReadInt64(SlotAddress(slot) + SlotLayout.State) != 0)
                {
                    return true;
                }
            }

            return false;
        }
    }

    public nint SlotAddress(int slot) => Address + ControlLayout.Slots + slot * ControlLayout.SlotBytes;

    public ulong Header(int offset) => (ulong)Marshal.ReadInt64(Address + offset);

    public void SetHeader(int offset, ulong value) => Marshal.WriteInt64(Address + offset, (long)value);

    public int Operations
    {
        get => Marshal.ReadInt32(Address + ControlLayout.OpCount);
        private set => Marshal.WriteInt32(Address + ControlLayout.OpCount, value);
    }

    /// <summary>Forgets all operations.</summary>
    public void Clear() => Operations = 0;

    /// <summary>Adds a Share, Zero or Reshare operation and returns its index.</summary>
    public int Add(uint kind, ulong start, ulong length, ulong storeOffset, ulong protection, ulong advice, ulong shadowOffset,
        bool continues)
    {
        int index = Next(out nint op);
        Marshal.WriteInt32(op + OpLayout.Kind, (int)kind);
        Marshal.WriteInt32(op + OpLayout.Status, (int)OpLayout.StatusNone);
        Put(op, OpLayout.Start, start);
        Put(op, OpLayout.Length, length);
        Put(op, OpLayout.StoreOffset, storeOffset);
        Put(op, OpLayout.DoneBytes, 0);
        Put(op, OpLayout.Protection, protection);
        Put(op, OpLayout.Advice, advice);
        Put(op, OpLayout.Errno, 0);
        Put(op, OpLayout.Stage, 0);
        Put(op, OpLayout.ShadowOffset, shadowOffset);
        Marshal.WriteInt32(op + OpLayout.Flags, continues ? OpLayout.FlagContinues : 0);
        return index;
    }

    /// <summary>
    /// Adds a plain system call. Arguments whose bit is set in <paramref name="indirect"/> are header offsets whose
    /// value is taken when the call is made; a result goes to header offset <paramref name="resultTo"/> unless 0.
    /// </summary>
    public int AddCall(long number, ReadOnlySpan<ulong> arguments, uint indirect = 0, int resultTo = 0)
    {
        int index = Next(out nint op);
        Marshal.WriteInt32(op + OpLayout.Kind, (int)OpLayout.KindCall);
        Marshal.WriteInt32(op + OpLayout.Status, (int)OpLayout.StatusNone);
        Put(op, OpLayout.CallNumber, (ulong)number);
        for (int i = 0; i < 6; i++)
        {
            Put(op, OpLayout.CallArguments + 8 * i, i < arguments.Length ? arguments[i] : 0);
        }

        Put(op, OpLayout.CallResult, unchecked((ulong)-38));
        Put(op, OpLayout.CallResultTo, (ulong)resultTo);
        Marshal.WriteInt32(op + OpLayout.CallIndirect, (int)indirect);
        Marshal.WriteInt32(op + OpLayout.Flags, 0);
        return index;
    }

    /// <summary>Adds the sampling of the first runs of <see cref="SetSampleRun"/>.</summary>
    public int AddSample(int runs)
    {
        int index = Next(out nint op);
        Marshal.WriteInt32(op + OpLayout.Kind, (int)OpLayout.KindSample);
        Marshal.WriteInt32(op + OpLayout.Status, (int)OpLayout.StatusNone);
        Put(op, OpLayout.Start, (ulong)runs);
        Put(op, OpLayout.DoneBytes, 0);
        Marshal.WriteInt32(op + OpLayout.Flags, 0);
        return index;
    }

    /// <summary>A run to be sampled.</summary>
    public void SetSampleRun(int index, PageRange pages)
    {
        nint run = Address + ControlLayout.SampleRuns + (index * SampleLimits.RunBytes);
        Put(run, 0, pages.StartAddress);
        Put(run, 8, pages.Count);
    }

    /// <summary>What is sampled and how.</summary>
    public void SetSampler(PageSampler sampler)
    {
        for (int i = 0; i < PageSampler.KeyWords; i++)
        {
            SetHeader(ControlLayout.SampleKey + (i * sizeof(ulong)), sampler.Key[i]);
        }

        for (int i = 0; i < PageSampler.Lines; i++)
        {
            SetHeader(ControlLayout.SampleOffsets + (i * sizeof(ulong)), (ulong)sampler.Offsets[i]);
        }
    }

    /// <summary>The first samples of the last window, as far as the target says. They are hints, so it may say anything.</summary>
    public unsafe void Samples(Span<ulong> samples)
    {
        if (samples.Length > SampleLimits.Pages)
        {
            throw new ArgumentException("more samples than the area has room for", nameof(samples));
        }

        // SAFETY: the area is mapped as long as this object lives and has room for that many words.
        new ReadOnlySpan<ulong>((void*)(Address + ControlLayout.SampleResults), samples.Length).CopyTo(samples);
    }

    public uint Status(int index) => (uint)Marshal.ReadInt32(Operation(index) + OpLayout.Status);

    public uint Stage(int index) => (uint)Marshal.ReadInt32(Operation(index) + OpLayout.Stage);

    public ulong DoneBytes(int index) => (ulong)Marshal.ReadInt64(Operation(index) + OpLayout.DoneBytes);

    public int Errno(int index) => (int)Marshal.ReadInt64(Operation(index) + OpLayout.Errno);

    public long CallResult(int index) => Marshal.ReadInt64(Operation(index) + OpLayout.CallResult);

    private int Next(out nint op)
    {
        int index = Operations;
        if (index >= ControlLayout.OperationsMax)
        {
            throw new InvalidOperationException("a batch holds at most 256 operations");
        }

        op = Operation(index);
        Operations = index + 1;
        return index;
    }

    private nint Operation(int index) => Address + ControlLayout.Operations + index * ControlLayout.OperationBytes;

    private static void Put(nint op, int offset, ulong value) => Marshal.WriteInt64(op + offset, (long)value);

    public void Dispose()
    {
        _pages.Dispose();
        _file.Dispose();
    }
}
