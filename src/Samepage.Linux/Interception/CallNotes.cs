using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Interception;

/// <summary>Which file a descriptor stands for.</summary>
internal readonly record struct DeviceIdentity(ulong Device, ulong Inode);

/// <summary>
/// One page in a memory file that outlives the daemon: calls received and not answered yet, and what the command was
/// started with.
/// </summary>
internal sealed unsafe class CallNotes : IDisposable
{
    /// <summary>Calls that can wait at once; further callers wait in the kernel.</summary>
    internal const int Count = 16;

    /// <summary>Placeholders of /dev/ksm that one command can have: its own and those of nested runs.</summary>
    internal const int DevicesMax = 16;

    private const int NoteBytes = 128, SettingsOffset = Count * NoteBytes, PageBytes = 4096;
    private const int DomainOffset = SettingsOffset + 16, DomainBytesMax = 256;
    private const int DevicesOffset = SettingsOffset + 512;
    private const ulong Magic = 0x31_65_74_6f_6e_67_6d_73; // "smgnote1"
    private readonly SharedPages _pages;

    private CallNotes(SafeFileHandle file)
    {
        File = file;
        _pages = new SharedPages((int)file.DangerousGetHandle(), PageBytes, writable: true);
    }

    internal SafeFileHandle File { get; }

    /// <summary>Trust domain of the command's processes; null for each user's own.</summary>
    internal string? Domain
    {
        get
        {
            int bytes = Marshal.ReadInt32(_pages.Address, SettingsOffset + 8);
            return bytes is <= 0 or > DomainBytesMax
                ? null
                : Encoding.UTF8.GetString((byte*)_pages.Address + DomainOffset, bytes);
        }
    }

    /// <summary>The filter hands over ioctls, too.</summary>
    internal bool HandlesDevice
    {
        get => Marshal.ReadInt32(_pages.Address, SettingsOffset + 12) != 0;
        private init => Marshal.WriteInt32(_pages.Address, SettingsOffset + 12, value ? 1 : 0);
    }

    internal static CallNotes Create(string? domain, bool handlesDevice)
    {
        var notes = new CallNotes(new SafeFileHandle(MemoryFile.Create("samepage-calls", PageBytes), ownsHandle: true))
        {
            HandlesDevice = handlesDevice,
        };
        byte[] name = Encoding.UTF8.GetBytes(domain ?? "");
        ArgumentOutOfRangeException.ThrowIfGreaterThan(name.Length, DomainBytesMax);
        Marshal.Copy(name, 0, notes._pages.Address + DomainOffset, name.Length);
        Marshal.WriteInt32(notes._pages.Address, SettingsOffset + 8, name.Length);
        Marshal.WriteInt64(notes._pages.Address, SettingsOffset, (long)Magic);
        return notes;
    }

    internal static CallNotes? TryOpen(SafeFileHandle file)
    {
        Span<byte> magic = stackalloc byte[sizeof(ulong)];
        return Fcntl.Read(file, magic, SettingsOffset) == magic.Length && MemoryMarshal.Read<ulong>(magic) == Magic
            && Mount.TryStat(file, out Mount.statx stat) && stat.stx_size == PageBytes
            ? new CallNotes(file)
            : null;
    }

    internal nint Address(int note) => _pages.Address + (note * NoteBytes);

    internal void Clear(int note) =>
        // SAFETY: the note lies in the mapped page.
        new Span<byte>((void*)Address(note), NoteBytes).Clear();

    internal InterceptedCall Read(int note)
    {
        // SAFETY: the note lies in the mapped page; the kernel has written the structure there, or it is zero.
        ref readonly var call = ref *(SeccompNotify.seccomp_notif*)Address(note);
        return new InterceptedCall(
            call.id, (int)call.pid, call.data.nr,
            call.data.args[0], call.data.args[1], call.data.args[2], call.data.args[3], call.data.args[4]);
    }

    /// <summary>Placeholders of /dev/ksm that processes of this command may have open.</summary>
    internal IEnumerable<DeviceIdentity> Devices()
    {
        for (int i = 0; i < DevicesMax; i++)
        {
            int at = DevicesOffset + (16 * i);
            var identity = new DeviceIdentity(
                (ulong)Marshal.ReadInt64(_pages.Address, at), (ulong)Marshal.ReadInt64(_pages.Address, at + 8));
            if (identity.Inode == 0)
            {
                yield break;
            }

            yield return identity;
        }
    }

    /// <summary>Adds a placeholder.</summary>
    /// <returns>False when there is no room.</returns>
    internal bool AddDevice(DeviceIdentity identity)
    {
        int count = Devices().Count();
        if (count == DevicesMax)
        {
            return false;
        }

        int at = DevicesOffset + (16 * count);
        Marshal.WriteInt64(_pages.Address, at, (long)identity.Device);
        Marshal.WriteInt64(_pages.Address, at + 8, (long)identity.Inode);
        return true;
    }

    public void Dispose()
    {
        _pages.Dispose();
        File.Dispose();
    }
}
