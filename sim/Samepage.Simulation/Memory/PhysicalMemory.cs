using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Samepage.Simulation;

/// <summary>A page of an address space: where a frame is mapped.</summary>
public readonly record struct MappingKey(ulong Bits)
{
    internal const int PageBits = 36;

    internal MappingKey(int space, ulong page)
        : this(((ulong)(uint)space << PageBits) | page)
    {
    }

    public int Space => (int)(Bits >> PageBits);

    public ulong Page => Bits & ((1UL << PageBits) - 1);
}

/// <summary>
/// All frames, with counts and the way back from an anonymous frame to its mappings (the kernel's rmap). Frame 0 is
/// the zero page. Frames of stores are not followed back: nobody write-protects them.
/// </summary>
public sealed class PhysicalMemory
{
    /// <summary>The frame of zeros.</summary>
    public const uint ZeroFrame = 0;

    private const int SlabShift = 9;
    private const uint SlabMask = (1u << SlabShift) - 1;
    private const ulong Nowhere = ulong.MaxValue;
    private const ulong Many = ulong.MaxValue - 1;

    private readonly List<Frame[]> _slabs = [];
    private readonly Dictionary<uint, List<MappingKey>> _many = [];
    private ulong _firstFree = Nowhere;

    public PhysicalMemory()
    {
        this[Allocate(FrameKind.Zero, default)].References = 1;
    }

    /// <summary>Frames from here on have never been used.</summary>
    public uint End { get; private set; }

    /// <summary>Frames in use.</summary>
    public long Used { get; private set; }

    public ref Frame this[uint frame]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref _slabs[(int)(frame >> SlabShift)][frame & SlabMask];
    }

    /// <summary>A frame nobody refers to yet.</summary>
    internal uint Allocate(FrameKind kind, PageContent content)
    {
        uint number = TakeFree();
        ref Frame frame = ref this[number];
        Invariant.Check(frame.Kind == FrameKind.Free);
        frame.Become(kind);
        frame.Content = content;
        frame.Mapping = Nowhere;
        frame.References = 0;
        Used++;
        return number;
    }

    /// <summary>An entry shows the frame from now on.</summary>
    internal void AddMapping(uint number, MappingKey key)
    {
        ref Frame frame = ref this[number];
        frame.CountMapping(1);
        if (frame.Kind != FrameKind.Anonymous)
        {
            return;
        }

        if (frame.Mapping == Nowhere)
        {
            frame.Mapping = key.Bits;
            return;
        }

        ref List<MappingKey>? keys = ref CollectionsMarshal.GetValueRefOrAddDefault(_many, number, out _);
        keys ??= [new MappingKey(frame.Mapping)];
        keys.Add(key);
        frame.Mapping = Many;
    }

    /// <summary>An entry no longer shows the frame; the last reference frees it.</summary>
    internal void RemoveMapping(uint number, MappingKey key)
    {
        ref Frame frame = ref this[number];
        Invariant.Check(frame.Mappings > 0);
        if (frame.Kind == FrameKind.Anonymous)
        {
            if (frame.Mapping == Many)
            {
                List<MappingKey> keys = _many[number];
                Invariant.Check(keys.Remove(key));
                if (keys.Count == 1)
                {
                    frame.Mapping = keys[0].Bits;
                    _many.Remove(number);
                }
            }
            else
            {
                Invariant.Check(frame.Mapping == key.Bits);
                frame.Mapping = Nowhere;
            }
        }

        frame.CountMapping(-1);
        FreeUnreferenced(number, ref frame);
    }

    /// <summary>The mapping lies somewhere else from now on.</summary>
    internal void MoveMapping(uint number, MappingKey from, MappingKey to)
    {
        ref Frame frame = ref this[number];
        if (frame.Kind != FrameKind.Anonymous)
        {
            return;
        }

        if (frame.Mapping == Many)
        {
            List<MappingKey> keys = _many[number];
            keys[keys.IndexOf(from)] = to;
        }
        else
        {
            Invariant.Check(frame.Mapping == from.Bits);
            frame.Mapping = to.Bits;
        }
    }

    /// <summary>Where an anonymous frame is mapped.</summary>
    internal ReadOnlySpan<MappingKey> MappingsOf(uint number, ref MappingKey room)
    {
        ref Frame frame = ref this[number];
        Invariant.Check(frame.Kind == FrameKind.Anonymous);
        if (frame.Mapping == Many)
        {
            return CollectionsMarshal.AsSpan(_many[number]);
        }

        room = new MappingKey(frame.Mapping);
        return frame.Mapping == Nowhere ? [] : new ReadOnlySpan<MappingKey>(in room);
    }

    /// <summary>Remembers which store a frame belongs to, where a private one has its mapping.</summary>
    internal void SetStorePlace(uint number, int store, uint slot) =>
        this[number].Mapping = ((ulong)(uint)store << 32) | slot;

    /// <summary>The store and slot of a store's frame.</summary>
    internal (int Store, uint Slot) StorePlaceOf(uint number)
    {
        Invariant.Check(this[number].Kind == FrameKind.Store);
        return ((int)(this[number].Mapping >> 32), (uint)this[number].Mapping);
    }

    internal void AddReference(uint number) => this[number].References++;

    internal void DropReference(uint number)
    {
        ref Frame frame = ref this[number];
        frame.References--;
        FreeUnreferenced(number, ref frame);
    }

    private void FreeUnreferenced(uint number, ref Frame frame)
    {
        Invariant.Check(frame.References >= frame.Mappings);
        if (frame.References > 0)
        {
            return;
        }

        frame.Become(FrameKind.Free);
        frame.Mapping = _firstFree;
        _firstFree = number;
        Used--;
    }

    private uint TakeFree()
    {
        if (_firstFree != Nowhere)
        {
            var number = (uint)_firstFree;
            _firstFree = this[number].Mapping;
            return number;
        }

        if (End >> SlabShift == (uint)_slabs.Count)
        {
            _slabs.Add(new Frame[1 << SlabShift]);
        }

        return End++;
    }
}
