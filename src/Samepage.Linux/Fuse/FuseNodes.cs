using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.Fuse;

namespace Samepage.Linux.Fuse;

/// <summary>The directory and its files as the kernel sees them: numbers, names, owners and modes.</summary>
internal sealed class FuseNodes
{
    // What stat(2) shows of sysfs: files of one page, and a directory of no size.
    private const ulong FileSize = 4096;
    private const uint ReadWrite = 0x81A4; // S_IFREG | 0644
    private const uint ReadOnly = 0x8124; // S_IFREG | 0444
    private const uint DirectoryMode = 0x41ED; // S_IFDIR | 0755
    private const uint PermissionBits = 0xFFF;
    private const uint TypeRegular = 8;
    private const uint TypeDirectory = 4;

    private readonly Dictionary<string, int> byName = new(StringComparer.Ordinal);
    private readonly fuse_attr[] attributes;
    private readonly byte[][] names;

    internal FuseNodes(IReadOnlyList<FuseFile> files)
    {
        var now = (ulong)DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        attributes = new fuse_attr[files.Count + 1];
        names = [.. files.Select(file => Encoding.UTF8.GetBytes(file.Name))];
        for (var i = 0; i < attributes.Length; i++)
        {
            attributes[i] = new fuse_attr
            {
                ino = FUSE_ROOT_ID + (uint)i,
                size = i == 0 ? 0 : FileSize,
                atime = now,
                mtime = now,
                ctime = now,
                mode = i == 0 ? DirectoryMode : files[i - 1].IsWritable ? ReadWrite : ReadOnly,
                nlink = i == 0 ? 2u : 1u,
                blksize = 4096,
            };
        }

        for (var i = 0; i < files.Count; i++)
        {
            byName.Add(files[i].Name, i);
        }
    }

    internal bool Exists(ulong node) => node - FUSE_ROOT_ID < (ulong)attributes.Length;

    internal fuse_attr Attributes(ulong node) => attributes[node - FUSE_ROOT_ID];

    internal bool TryFind(string name, out int file) => byName.TryGetValue(name, out file);

    /// <summary>Owner and mode, as chown(2) and chmod(2) ask for them; they last as long as the mount.</summary>
    internal void Change(ulong node, in fuse_setattr_in asked)
    {
        ref var known = ref attributes[node - FUSE_ROOT_ID];
        if ((asked.valid & FATTR_MODE) != 0)
        {
            known.mode = (known.mode & ~PermissionBits) | (asked.mode & PermissionBits);
        }

        known.uid = (asked.valid & FATTR_UID) != 0 ? asked.uid : known.uid;
        known.gid = (asked.valid & FATTR_GID) != 0 ? asked.gid : known.gid;
    }

    /// <summary>Directory entries from a position on, as many as fit.</summary>
    /// <returns>Bytes used.</returns>
    internal int List(ulong position, Span<byte> room)
    {
        var used = 0;
        for (; position < (ulong)names.Length + 2; position++)
        {
            ReadOnlySpan<byte> name = position switch { 0 => "."u8, 1 => ".."u8, _ => names[position - 2] };
            var head = Unsafe.SizeOf<fuse_dirent>();
            var bytes = (head + name.Length + 7) & ~7;
            if (used + bytes > room.Length)
            {
                break;
            }

            var entry = room.Slice(used, bytes);
            entry.Clear();
            MemoryMarshal.Write(entry, new fuse_dirent
            {
                ino = position < 2 ? FUSE_ROOT_ID : FUSE_ROOT_ID + position - 1,
                off = position + 1,
                namelen = (uint)name.Length,
                type = position < 2 ? TypeDirectory : TypeRegular,
            });
            name.CopyTo(entry[head..]);
            used += bytes;
        }

        return used;
    }
}
