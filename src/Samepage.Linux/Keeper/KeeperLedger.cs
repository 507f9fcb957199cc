using System.Globalization;
using System.Text;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>A target's userfaultfd as the daemon announced it.</summary>
internal readonly record struct LedgerTarget(int Pid, ulong StartTime, int TargetFd, FileIdentity Identity);

/// <summary>A store's file; <see cref="Fd"/> is ours.</summary>
internal readonly record struct LedgerStore(string Domain, int Fd, FileIdentity Identity);

/// <summary>A descriptor held under a name; <see cref="Fd"/> is ours, and after a keeper's death still its number in
/// the holder's table. <see cref="Link"/> says what it is.</summary>
internal readonly record struct LedgerDescriptor(string Name, int Fd, string Link);

/// <summary>
/// What the keeper knows besides the descriptors themselves: which is whose, and the daemon's state text. Written to a
/// memfd after every change, so that it too outlives the keeper in the holder's descriptor table. A new version is
/// complete before the old one is closed; the next keeper takes the newest complete one it finds.
/// </summary>
internal sealed class KeeperLedger : IDisposable
{
    internal const int StateBytesMax = 65_536;
    internal const string MemfdLink = "/memfd:samepage-ledger (deleted)";
    private const string Header = "samepage-ledger 1";
    private const string Footer = "end";

    private int _memfd = -1;
    private long _version;

    internal List<LedgerTarget> Targets { get; } = [];

    internal Dictionary<string, LedgerStore> Stores { get; } = new(StringComparer.Ordinal);

    internal Dictionary<string, LedgerDescriptor> Kept { get; } = new(StringComparer.Ordinal);

    internal byte[] State { get; set; } = [];

    /// <summary>Command line that starts a daemon; empty when none is to be started.</summary>
    internal IReadOnlyList<string> DaemonCommand { get; set; } = [];

    /// <summary>Makes the present contents survive this process.</summary>
    internal unsafe void Save()
    {
        _version++;
        byte[] text = Encoding.UTF8.GetBytes(Format());
        int next;
        fixed (byte* name = "samepage-ledger\0"u8)
        {
            // SAFETY: a zero-terminated constant.
            next = memfd_create(name, 1);
        }

        if (next < 0 || !KeeperFiles.WriteAll(next, text))
        {
            KeeperLog.Write($"cannot save the ledger: errno {LastErrno}");
            return;
        }

        if (_memfd >= 0)
        {
            _ = close(_memfd);
        }

        _memfd = next;
    }

    /// <summary>
    /// Replaces the contents by those of <paramref name="fd"/> if it holds a complete ledger that is newer. Stores
    /// come back without a descriptor (-1): the caller finds them by identity.
    /// </summary>
    internal bool TryLoad(int fd)
    {
        string text = Encoding.UTF8.GetString(ReadAll(fd));
        string[] lines = text.Split('\n');
        if (lines.Length < 4 || lines[0] != Header || lines[^1] != Footer
            || !long.TryParse(lines[1], CultureInfo.InvariantCulture, out long version) || version <= _version)
        {
            return false;
        }

        _version = version;
        Targets.Clear();
        Stores.Clear();
        Kept.Clear();
        State = [];
        DaemonCommand = [];
        foreach (string line in lines[2..^1])
        {
            Read(line.Split(' '));
        }

        return true;
    }

    public void Dispose()
    {
        if (_memfd >= 0)
        {
            _ = close(_memfd);
        }
    }

    private void Read(string[] words)
    {
        switch (words[0])
        {
            case "target":
                Targets.Add(new LedgerTarget(int.Parse(words[1], CultureInfo.InvariantCulture), Number(words[2]),
                    int.Parse(words[3], CultureInfo.InvariantCulture),
                    new FileIdentity(Number(words[4]), Number(words[5]))));
                break;
            case "store":
                string domain = Uri.UnescapeDataString(words[1]);
                Stores[domain] = new LedgerStore(domain, -1, new FileIdentity(Number(words[2]), Number(words[3])));
                break;
            case "kept":
                string name = Uri.UnescapeDataString(words[1]);
                Kept[name] = new LedgerDescriptor(
                    name, int.Parse(words[2], CultureInfo.InvariantCulture), Uri.UnescapeDataString(words[3]));
                break;
            case "daemon":
                DaemonCommand = [.. words.Skip(1).Select(Uri.UnescapeDataString)];
                break;
            case "state":
                State = Convert.FromBase64String(words[1]);
                break;
            default:
                break;
        }
    }

    private string Format()
    {
        var text = new StringBuilder();
        CultureInfo plain = CultureInfo.InvariantCulture;
        text.Append(Header).Append('\n').Append(plain, $"{_version}\n");
        foreach (LedgerTarget target in Targets)
        {
            text.Append(plain, $"target {target.Pid} {target.StartTime} {target.TargetFd} ")
                .Append(plain, $"{target.Identity.Device} {target.Identity.Inode}\n");
        }

        foreach (LedgerStore store in Stores.Values)
        {
            text.Append(plain, $"store {Uri.EscapeDataString(store.Domain)} ")
                .Append(plain, $"{store.Identity.Device} {store.Identity.Inode}\n");
        }

        foreach (LedgerDescriptor kept in Kept.Values)
        {
            text.Append(plain, $"kept {Uri.EscapeDataString(kept.Name)} {kept.Fd} {Uri.EscapeDataString(kept.Link)}\n");
        }

        if (DaemonCommand.Count > 0)
        {
            text.Append("daemon ").AppendJoin(' ', DaemonCommand.Select(Uri.EscapeDataString)).Append('\n');
        }

        text.Append("state ").Append(Convert.ToBase64String(State)).Append('\n');
        return text.Append(Footer).ToString();
    }

    private static unsafe byte[] ReadAll(int fd)
    {
        const int PieceBytes = 65_536;
        const int MostBytes = 16 << 20;
        var all = new MemoryStream();
        byte[] piece = new byte[PieceBytes];
        // SAFETY: the array stays pinned for all reads.
        fixed (byte* start = piece)
        {
            while (all.Length < MostBytes)
            {
                // SAFETY: the pinned piece has PieceBytes bytes.
                nint got = pread(fd, start, PieceBytes, all.Length);
                if (got <= 0)
                {
                    break;
                }

                all.Write(piece, 0, (int)got);
            }
        }

        return all.ToArray();
    }

    private static ulong Number(string word) => ulong.Parse(word, CultureInfo.InvariantCulture);
}
