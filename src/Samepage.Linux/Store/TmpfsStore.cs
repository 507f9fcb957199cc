using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Store;

/// <summary>
/// A trust domain's pages in an unnamed file on a tmpfs of its own that is mounted nowhere. The tmpfs has
/// <c>noswap</c> (Linux 6.4), so store pages stay in memory as KSM's do and an empty page-table entry in a merged
/// mapping can only mean that the application dropped the page; and <c>huge=never</c>. The file is mode 0400: targets
/// get a read-only descriptor. A page at slot n lies at byte n * 4096. Used by one thread at a time.
/// </summary>
internal sealed class TmpfsStore : IPageStore, IDisposable
{
    /// <summary>Size of the (sparse) file: 1 TiB. More would be no use: slots are handed out from the bottom.</summary>
    internal const long FileBytes = 1L << 40;

    /// <summary>Number of slots.</summary>
    internal const uint SlotCount = (uint)(FileBytes / PageSize.Bytes);

    private readonly SafeFileHandle _file;
    private readonly IReclaimProof _proof;

    private TmpfsStore(string domain, SafeFileHandle file, SafeFileHandle readOnly, IReclaimProof? proof)
    {
        Domain = domain;
        _file = file;
        ReadOnlyDescriptor = readOnly;
        Identity = Identify(file);
        _proof = proof ?? new MappingProof(Identity, readOnly);
    }

    /// <inheritdoc/>
    public string Domain { get; }

    /// <inheritdoc/>
    public uint EndSlot { get; private set; }

    /// <summary>The descriptor to hand to targets.</summary>
    internal SafeFileHandle ReadOnlyDescriptor { get; }

    /// <summary>The file as /proc/PID/maps names it.</summary>
    internal FileIdentity Identity { get; }

    /// <summary>Bytes of memory the file takes.</summary>
    internal long AllocatedBytes => Mount.TryStat(_file, out Mount.statx stat) ? (long)stat.stx_blocks * 512 : 0;

    /// <summary>Makes an empty store.</summary>
    /// <param name="domain">Name of the trust domain.</param>
    /// <param name="bytesMax">Most memory it may take; 0 for no limit of its own.</param>
    /// <param name="proof">Replaces the proof that a page can be freed, in tests.</param>
    /// <exception cref="TargetException">The kernel cannot make such a tmpfs, or it is not permitted.</exception>
    internal static TmpfsStore Create(string domain, long bytesMax = 0, IReclaimProof? proof = null)
    {
        using SafeFileHandle mount = MountTmpfs(bytesMax);
        SafeFileHandle file = Fcntl.OpenAt(
            mount, ".", Fcntl.O_TMPFILE | Fcntl.O_RDWR | Fcntl.O_CLOEXEC, 0x100 /* 0400 */);
        if (file.IsInvalid)
        {
            throw Failure("open a file in the store's tmpfs", file);
        }

        if (Fcntl.ftruncate(file, FileBytes) != 0)
        {
            throw Failure("size the store", file);
        }

        return Finish(domain, file, proof);
    }

    /// <summary>
    /// Takes over the store of a daemon that died, from the descriptor one of its targets still holds
    /// (<see cref="ProcessIdentity.TakeDescriptor"/>). A target could have put another file in its place, therefore the
    /// file has to look exactly as only a daemon running as this user can have made it.
    /// </summary>
    /// <exception cref="TargetException">It is no store of ours.</exception>
    internal static TmpfsStore Adopt(string domain, SafeFileHandle descriptor, IReclaimProof? proof = null)
    {
        if (Mount.FileSystemType(descriptor) != Mount.TMPFS_MAGIC || !Mount.TryStat(descriptor, out Mount.statx stat) ||
            stat.stx_mode != 0x8100 /* regular, 0400 */ || stat.stx_nlink != 0 ||
            stat.stx_size != FileBytes || stat.stx_uid != Libc.EffectiveUid)
        {
            throw new TargetException(
                TargetError.Refused, "the descriptor left in the process is not a page store: nothing was taken over");
        }

        SafeFileHandle file = Reopen(descriptor, Fcntl.O_RDWR);
        if (file.IsInvalid)
        {
            throw Failure("reopen the store for writing", file);
        }

        TmpfsStore store = Finish(domain, file, proof);
        // What lies below may be mapped by processes this daemon never hears of: forked children, targets not found.
        List<(uint Slot, uint Count)> used = store.UsedSlots();
        store.EndSlot = used.Count == 0 ? 0 : used[^1].Slot + used[^1].Count;
        return store;
    }

    /// <inheritdoc/>
    public void Write(uint slot, ReadOnlySpan<byte> pages)
    {
        uint count = CheckSlots(slot, pages.Length);
        for (uint i = 0; i < count; i++)
        {
            if (!StoreLayout.IsUsable(slot + i))
            {
                throw new ArgumentException($"slot {slot + i} must stay empty", nameof(slot));
            }
        }

        long offset = (long)slot * PageSize.Bytes;
        int done = 0;
        while (done < pages.Length)
        {
            nint n = Fcntl.Write(_file, pages[done..], offset + done);
            if (n <= 0)
            {
                int errno = n == 0 ? Errno.ENOSPC : Errno.Last;
                // The slots were empty before, so taking everything away again publishes nothing.
                Punch(offset, pages.Length);
                throw new IOException($"the store has no memory for {count} more pages: {Errno.Text(errno)}");
            }

            done += (int)n;
        }
    }

    /// <inheritdoc/>
    public void Read(uint slot, Span<byte> pages)
    {
        _ = CheckSlots(slot, pages.Length);
        long offset = (long)slot * PageSize.Bytes;
        int done = 0;
        while (done < pages.Length)
        {
            nint n = Fcntl.Read(_file, pages[done..], offset + done);
            if (n <= 0)
            {
                throw new IOException($"the store cannot be read at slot {slot}: {Errno.Text(Errno.Last)}");
            }

            done += (int)n;
        }
    }

    /// <inheritdoc/>
    public void Reclaim(ReadOnlySpan<uint> slots, Span<bool> freed)
    {
        freed[..slots.Length].Clear();
        if (slots.IsEmpty)
        {
            return;
        }

        bool[] unmapped = new bool[slots.Length];
        _proof.FindUnmapped(slots, unmapped);
        for (int i = 0; i < slots.Length;)
        {
            int length = 1;
            while (unmapped[i] && i + length < slots.Length && unmapped[i + length] &&
                slots[i + length] == slots[i] + (uint)length)
            {
                length++;
            }

            if (unmapped[i] && Punch((long)slots[i] * PageSize.Bytes, (long)length * PageSize.Bytes))
            {
                freed.Slice(i, length).Fill(true);
            }

            i += length;
        }
    }

    /// <summary>Runs of slots that hold pages, in order (SEEK_DATA, SEEK_HOLE).</summary>
    internal List<(uint Slot, uint Count)> UsedSlots()
    {
        List<(uint, uint)> runs = [];
        long offset = 0;
        while (offset < FileBytes)
        {
            long data = Fcntl.lseek(_file, offset, Fcntl.SEEK_DATA);
            if (data < 0)
            {
                return Errno.Last == Errno.ENXIO ? runs : throw new IOException(
                    $"the store cannot be searched for its pages: {Errno.Text(Errno.Last)}");
            }

            long hole = Fcntl.lseek(_file, data, Fcntl.SEEK_HOLE);
            if (hole <= data)
            {
                throw new IOException($"the store cannot be searched for its pages: {Errno.Text(Errno.Last)}");
            }

            runs.Add(((uint)(data / PageSize.Bytes), (uint)((hole - data) / PageSize.Bytes)));
            offset = hole;
        }

        return runs;
    }

    public void Dispose()
    {
        ReadOnlyDescriptor.Dispose();
        _file.Dispose();
    }

    private static SafeFileHandle MountTmpfs(long bytesMax)
    {
        using SafeFileHandle context = Mount.FsOpen("tmpfs");
        if (context.IsInvalid)
        {
            throw Failure("open a tmpfs context", null);
        }

        if (Mount.FsConfig(context, Mount.FSCONFIG_SET_FLAG, "noswap") != 0)
        {
            throw Failure("set noswap on a tmpfs (Linux 6.4)", null);
        }

        if (Mount.FsConfig(context, Mount.FSCONFIG_SET_STRING, "huge", "never") != 0 ||
            Mount.FsConfig(context, Mount.FSCONFIG_SET_STRING, "mode", "0700") != 0 ||
            Mount.FsConfig(context, Mount.FSCONFIG_SET_STRING, "size", bytesMax.ToString()) != 0 ||
            Mount.FsConfig(context, Mount.FSCONFIG_CMD_CREATE) != 0)
        {
            throw Failure("make a tmpfs", null);
        }

        SafeFileHandle mount = Mount.FsMount(context, Mount.MOUNT_ATTR_NOSUID | Mount.MOUNT_ATTR_NODEV);
        return mount.IsInvalid ? throw Failure("mount a tmpfs", mount) : mount;
    }

    private static TmpfsStore Finish(string domain, SafeFileHandle file, IReclaimProof? proof)
    {
        SafeFileHandle readOnly = Reopen(file, Fcntl.O_RDONLY);
        if (readOnly.IsInvalid)
        {
            file.Dispose();
            throw Failure("reopen the store for reading", readOnly);
        }

        return new TmpfsStore(domain, file, readOnly, proof);
    }

    private static SafeFileHandle Reopen(SafeFileHandle file, int flags) =>
        Fcntl.OpenAt(null, $"/proc/self/fd/{file.DangerousGetHandle()}", flags | Fcntl.O_CLOEXEC);

    private static FileIdentity Identify(SafeFileHandle file) =>
        Mount.TryStat(file, out Mount.statx stat)
            ? new FileIdentity(stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
            : throw Failure("stat the store", null);

    private static TargetException Failure(string step, SafeFileHandle? handle)
    {
        int errno = Errno.Last;
        handle?.Dispose();
        return errno is Errno.EPERM or Errno.EACCES
            ? new TargetException(
                TargetError.NotPermitted,
                $"not permitted to {step}: run as root, or with CAP_SYS_ADMIN", null, errno)
            : new TargetException(
                TargetError.HostNotSupported, $"the kernel cannot {step}: {Errno.Text(errno)}", null, errno);
    }

    private static uint CheckSlots(uint slot, int bytes)
    {
        uint count = (uint)(bytes / PageSize.Bytes);
        if (bytes % PageSize.Bytes != 0 || slot >= SlotCount || count > SlotCount - slot)
        {
            throw new ArgumentException($"{bytes} bytes at slot {slot} are not whole pages of the store");
        }

        return count;
    }

    private bool Punch(long offset, long length)
    {
        const int mode = Fcntl.FALLOC_FL_PUNCH_HOLE | Fcntl.FALLOC_FL_KEEP_SIZE;
        int result;
        do
        {
            result = Fcntl.fallocate(_file, mode, offset, length);
        }
        while (result != 0 && Errno.Last == Errno.EINTR);

        return result == 0;
    }
}
