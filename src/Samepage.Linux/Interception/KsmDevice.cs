using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.KsmCalls;

namespace Samepage.Linux.Interception;

/// <summary>
/// /dev/ksm of 2009 for one command: its ioctls by number, on the descriptors they belong to. A shared memory area is
/// the reading end of a pipe; the daemon has the writing end and sees when the last copy of the other, in whatever
/// process, is closed.
/// </summary>
internal sealed class KsmDevice(CommandRun run, RunState state, CallNotes notes, IDescriptorKeeper keeper) : IDisposable
{
    private const uint GetApiVersion = 0xAB00, CreateSharedMemoryArea = 0xAB01, RegisterRegion = 0x4018AB20,
        RegisterRegionShort = 0x4010AB20, RemoveRegions = 0xAB21;

    private const int ApiVersion = 1;
    private const int AreasMax = 256;
    private const int RegionBytes = 24, ShortRegionBytes = 16;
    private const ulong PagesEnd = 1UL << 35;

    private readonly Dictionary<ulong, SafeFileHandle> _areas = [];
    private ulong _pipes;

    /// <summary>Answers an ioctl whose number has the magic of /dev/ksm.</summary>
    internal CallAnswer Ioctl(in InterceptedCall call, int note)
    {
        // Other devices have ioctls with the same magic (network block devices do): what the descriptor is decides.
        if (call.Thread == 0 || CallerFacts.Descriptor(call.Thread, (uint)call.A0) is not { } file)
        {
            return CallAnswer.NotOurs;
        }

        bool isDevice = notes.Devices().Contains(file);
        bool isArea = !isDevice && file.Device == _pipes && _areas.ContainsKey(file.Inode);
        if ((!isDevice && !isArea) || CallerFacts.OnlyNames(call.Thread, (uint)call.A0)
            || !run.Listener.IsWaiting(call.Id))
        {
            return CallAnswer.NotOurs;
        }

        return isDevice ? OnDevice(call) : OnArea(call, file.Inode, note);
    }

    /// <summary>Areas whose last descriptor has been closed lose their regions.</summary>
    internal void DropClosed()
    {
        foreach ((ulong area, SafeFileHandle end) in _areas.ToList())
        {
            if (!Pidfd.HasHungUp(end, POLLERR))
            {
                continue;
            }

            List<RunProcess> members = [.. state.Processes.Where(process => process.InAreas.ContainsKey(area))];
            state.Do(new RunEntry(RunEvent.CloseArea, 0, 0, 0, area));
            members.ForEach(run.UnmergeLater);
            _areas.Remove(area);
            end.Dispose();
            try
            {
                keeper.LetGo(run.NameOf(Name(area)));
            }
            catch (IOException)
            {
                // A keeper that is gone has let go.
            }
        }
    }

    /// <summary>Gets the pipes of an earlier daemon's areas; an area whose pipe is lost is closed.</summary>
    internal void TakeOver()
    {
        foreach (ulong area in state.Areas.ToList())
        {
            if (keeper.TakeKept(run.NameOf(Name(area))) is { } end)
            {
                _areas[area] = end;
                _pipes = Identity(end).Device;
            }
            else
            {
                state.Do(new RunEntry(RunEvent.CloseArea, 0, 0, 0, area));
            }
        }
    }

    internal IEnumerable<string> KeptNames() => _areas.Keys.Select(Name);

    public void Dispose()
    {
        foreach (SafeFileHandle end in _areas.Values)
        {
            end.Dispose();
        }

        _areas.Clear();
    }

    private CallAnswer OnDevice(in InterceptedCall call) => (uint)call.A1 switch
    {
        GetApiVersion => new CallAnswer(ApiVersion),
        CreateSharedMemoryArea => CreateArea(call),
        _ => new CallAnswer(-Errno.EINVAL),
    };

    private CallAnswer OnArea(in InterceptedCall call, ulong area, int note) => (uint)call.A1 switch
    {
        RegisterRegion => Register(call, area, RegionBytes),
        RegisterRegionShort => Register(call, area, ShortRegionBytes),
        RemoveRegions => Remove(call, area, note),
        _ => new CallAnswer(Errno.EINVAL), // positive, as the driver had it
    };

    private CallAnswer CreateArea(in InterceptedCall call)
    {
        if (_areas.Count == AreasMax)
        {
            DropClosed(); // what has been closed a moment ago counts no more
        }

        if (_areas.Count == AreasMax)
        {
            return new CallAnswer(-Errno.ENOMEM);
        }

        (SafeFileHandle reading, SafeFileHandle writing) = Pipe();
        using (reading)
        {
            DeviceIdentity identity = Identity(reading);
            _pipes = identity.Device;
            _areas[identity.Inode] = writing;
            keeper.Keep(run.NameOf(Name(identity.Inode)), writing);
            state.Do(new RunEntry(RunEvent.OpenArea, 0, 0, 0, identity.Inode));
            // Should this fail, nobody has the reading end, and the area is dropped at the next look.
            int errno = run.Listener.AnswerWithDescriptor(call.Id, (int)reading.DangerousGetHandle());
            return errno == 0 ? CallAnswer.Given : new CallAnswer(-errno);
        }
    }

    // The driver checked nothing but the pointer. An address is rounded down, as its get_user_pages did.
    private CallAnswer Register(in InterceptedCall call, ulong area, int bytes)
    {
        Span<byte> region = stackalloc byte[bytes];
        if (!CallerFacts.TryRead(call.Thread, call.A2, region))
        {
            return new CallAnswer(-Errno.EFAULT);
        }

        if (!run.Listener.IsWaiting(call.Id) || state.Of(call.Thread) is not { } process)
        {
            return new CallAnswer(-Errno.EPERM);
        }

        ulong start = Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(region[8..]) >> PageSize.Shift, PagesEnd);
        ulong end = Math.Min(start + BinaryPrimitives.ReadUInt32LittleEndian(region), PagesEnd);
        if (end > start)
        {
            state.Do(new RunEntry(RunEvent.RegisterInArea, process.Pid, start, end, area));
            process.HasAsked |= process.IsChanged;
        }

        return new CallAnswer(0);
    }

    private CallAnswer Remove(in InterceptedCall call, ulong area, int note)
    {
        List<RunProcess> members = [.. state.Processes.Where(process => process.InAreas.ContainsKey(area))];
        state.Do(new RunEntry(RunEvent.EmptyArea, 0, 0, 0, area));
        members.ForEach(run.UnmergeLater);
        // The regions may be of other processes than the caller's; he waits for his own.
        return state.Of(call.Thread) is { } process && members.Contains(process)
            ? run.AfterUnregistering(process, note)
            : new CallAnswer(0);
    }

    private static string Name(ulong area) => string.Create(CultureInfo.InvariantCulture, $"area-{area}");

    private static unsafe (SafeFileHandle Reading, SafeFileHandle Writing) Pipe()
    {
        int* ends = stackalloc int[2];
        // SAFETY: the kernel writes two numbers.
        Libc.Check(Libc.syscall(SYS_pipe2, (nint)ends, Fcntl.O_CLOEXEC), "pipe2");
        return (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
    }

    private static DeviceIdentity Identity(SafeFileHandle file) =>
        CallerFacts.Identity($"/proc/self/fd/{file.DangerousGetHandle()}")
            ?? throw new IOException("no such descriptor");
}
