using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.Fuse;

namespace Samepage.Linux.Fuse;

/// <summary>Sends one answer. May be called by any thread.</summary>
internal delegate void FuseReply(ReadOnlySpan<byte> message);

/// <summary>
/// Answers FUSE requests for one directory of text files, the way sysfs would (what it does on Linux 6.18 is the
/// model; tests compare the two). Role: the protocol without /dev/fuse, so that it can be tested with any bytes.
/// <see cref="Handle"/> is called by one thread; writes that take long are answered by others later. Requests come from
/// the kernel, but whatever they hold is checked: a malformed one is answered with EINVAL where it can be answered.
/// </summary>
internal sealed class FuseDispatcher
{
    /// <summary>Bytes of one write(2) that are looked at; the rest is for the next write, as in sysfs (one page).
    /// </summary>
    public const int WriteMax = 4096;

    /// <summary>Longest request the kernel sends after the answer to FUSE_INIT.</summary>
    public const int RequestMax = 16 << 10;

    // More than WriteMax, so that a longer write(2) arrives in one piece and gets its short count.
    private const int KernelWriteMax = 8192;

    // The protocol's version we speak: 7.40 (Linux 6.9) is the first with FUSE_NOTIFY_RESEND.
    private const uint MinorMax = 40;

    // Names and attributes never change behind the kernel's back.
    private const ulong ValidSeconds = 24 * 60 * 60;

    private const int OpenFilesMax = 1 << 16;
    private const int FileBits = 8;
    private const int O_ACCMODE = 3;
    private const int O_DIRECT = 0x4000;
    private const ulong FirstFileNode = FUSE_ROOT_ID + 1;
    private const int HeaderBytes = 16;

    private readonly IFuseDirectory directory;
    private readonly FuseReply reply;
    private readonly FuseNodes nodes;
    private readonly Dictionary<ulong, FuseOpenFile> open = [];
    private readonly ConcurrentDictionary<ulong, CancellationTokenSource> writing = new();
    private readonly byte[] answer = new byte[RequestMax];
    private readonly bool takenOver;

    // Not those that a predecessor gave out.
    private ulong opened = (ulong)Stopwatch.GetTimestamp();

    /// <summary>A dispatcher for a mount.</summary>
    /// <param name="directory">What it shows.</param>
    /// <param name="reply">Sends an answer; must not throw.</param>
    /// <param name="takenOver">Somebody else served the mount before, and files may be open.</param>
    internal FuseDispatcher(IFuseDirectory directory, FuseReply reply, bool takenOver = false)
    {
        Invariant.Check(directory.Files.Count <= 1 << FileBits);
        this.directory = directory;
        this.reply = reply;
        this.takenOver = takenOver;
        nodes = new FuseNodes(directory.Files);
        IsInitialized = takenOver;
    }

    /// <summary>True once the kernel has said FUSE_INIT.</summary>
    internal bool IsInitialized { get; private set; }

    /// <summary>True when unanswered requests can be asked for again (Linux 6.9).</summary>
    internal bool CanResend { get; private set; }

    /// <summary>Writes that are not answered yet.</summary>
    internal int WritesPending => writing.Count;

    /// <summary>Answers one request.</summary>
    internal void Handle(ReadOnlySpan<byte> request)
    {
        if (!MemoryMarshal.TryRead(request, out fuse_in_header header))
        {
            return; // not even a number to answer to
        }

        var body = request[Unsafe.SizeOf<fuse_in_header>()..];
        if (header.len != request.Length)
        {
            Fail(header.unique, Errno.EINVAL);
            return;
        }

        switch (header.opcode)
        {
            case FUSE_FORGET or FUSE_BATCH_FORGET:
                break; // nodes are there for ever
            case FUSE_INTERRUPT:
                Interrupt(body);
                break;
            case FUSE_WRITE:
                Write(header, body);
                break;
            default:
                var error = Answer(header, body, out var length);
                Send(header.unique, error, answer.AsSpan(HeaderBytes, error == 0 ? length : 0));
                break;
        }
    }

    /// <summary>Ends waiting writes: the mount is gone.</summary>
    internal void Close()
    {
        foreach (var (_, waiting) in writing)
        {
            waiting.Cancel();
        }
    }

    /// <summary>Fills in the answer's body.</summary>
    /// <returns>0 or an error number.</returns>
    private int Answer(in fuse_in_header header, ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        switch (header.opcode)
        {
            case FUSE_INIT:
                return Init(body, out length);
            case FUSE_LOOKUP:
                return Lookup(header.nodeid, body, out length);
            case FUSE_GETATTR:
                return GetAttributes(header.nodeid, out length);
            case FUSE_SETATTR:
                return SetAttributes(header.nodeid, body, out length);
            case FUSE_OPEN:
                return Open(header.nodeid, body, out length);
            case FUSE_READ:
                return Read(body, out length);
            case FUSE_RELEASE:
                return Release(body);
            case FUSE_OPENDIR:
                length = Put(default(fuse_open_out));
                return header.nodeid == FUSE_ROOT_ID ? 0 : Errno.ENOTDIR;
            case FUSE_READDIR:
                return ReadDirectory(header.nodeid, body, out length);
            case FUSE_STATFS:
                length = Put(new fuse_kstatfs { bsize = 4096, frsize = 4096, namelen = 255 });
                return 0;
            case FUSE_LISTXATTR:
                return ListAttributes(body, out length);
            case FUSE_RELEASEDIR or FUSE_DESTROY:
                return 0;
            default:
                return Refusal(header.opcode);
        }
    }

    // The error numbers are sysfs's. ENOSYS makes the kernel do without and not ask again: FLUSH, FSYNC, ACCESS, LSEEK,
    // POLL, FALLOCATE, STATX, COPY_FILE_RANGE.
    private static int Refusal(uint opcode) => opcode switch
    {
        FUSE_MKDIR or FUSE_MKNOD or FUSE_SYMLINK or FUSE_LINK or FUSE_UNLINK or FUSE_RMDIR or FUSE_RENAME
            or FUSE_RENAME2 => Errno.EPERM,
        FUSE_CREATE => Errno.EACCES,
        FUSE_GETXATTR => Errno.ENODATA,
        FUSE_SETXATTR or FUSE_REMOVEXATTR => Errno.EOPNOTSUPP,
        FUSE_IOCTL => Errno.ENOTTY,
        FUSE_READLINK => Errno.EINVAL,
        _ => Errno.ENOSYS,
    };

    private int Init(ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        // Older kernels send 16 bytes; the fields behind are 0 then.
        Span<byte> whole = stackalloc byte[Unsafe.SizeOf<fuse_init_in>()];
        body[..Math.Min(body.Length, whole.Length)].CopyTo(whole);
        var asked = MemoryMarshal.Read<fuse_init_in>(whole);
        if (body.Length < 16 || asked.major < FUSE_KERNEL_VERSION)
        {
            return Errno.EPROTO;
        }

        var offered = asked.flags | ((ulong)asked.flags2 << 32);
        const ulong wanted = FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_INIT_EXT
            | FUSE_HAS_RESEND;
        var agreed = offered & wanted;
        CanResend = asked.minor >= MinorMax && (agreed & FUSE_HAS_RESEND) != 0;
        length = Put(new fuse_init_out
        {
            major = FUSE_KERNEL_VERSION,
            minor = Math.Min(asked.minor, MinorMax),
            max_readahead = asked.max_readahead,
            flags = (uint)agreed,
            flags2 = (uint)(agreed >> 32),
            max_background = 16,
            congestion_threshold = 12,
            max_write = KernelWriteMax,
            time_gran = 1,
        });
        IsInitialized = true;
        return 0;
    }

    private int Lookup(ulong parent, ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        var end = body.IndexOf((byte)0);
        if (end < 0)
        {
            return Errno.EINVAL;
        }

        if (parent != FUSE_ROOT_ID)
        {
            return Errno.ENOTDIR;
        }

        if (!nodes.TryFind(Encoding.UTF8.GetString(body[..end]), out var file))
        {
            return Errno.ENOENT;
        }

        var node = FirstFileNode + (uint)file;
        length = Put(new fuse_entry_out
        {
            nodeid = node, entry_valid = ValidSeconds, attr_valid = ValidSeconds, attr = nodes.Attributes(node),
        });
        return 0;
    }

    private int GetAttributes(ulong node, out int length)
    {
        length = 0;
        if (!nodes.Exists(node))
        {
            return Errno.ESTALE;
        }

        length = Put(new fuse_attr_out { attr_valid = ValidSeconds, attr = nodes.Attributes(node) });
        return 0;
    }

    // sysfs takes a new owner and mode, and lets one "truncate" to any size without effect.
    private int SetAttributes(ulong node, ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        if (!MemoryMarshal.TryRead(body, out fuse_setattr_in asked))
        {
            return Errno.EINVAL;
        }

        if (nodes.Exists(node))
        {
            nodes.Change(node, asked);
        }

        return GetAttributes(node, out length);
    }

    private int Open(ulong node, ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        if (!MemoryMarshal.TryRead(body, out fuse_open_in asked))
        {
            return Errno.EINVAL;
        }

        if (!nodes.Exists(node) || node == FUSE_ROOT_ID)
        {
            return node == FUSE_ROOT_ID ? Errno.EISDIR : Errno.ESTALE;
        }

        var file = (int)(node - FirstFileNode);
        var access = asked.flags & O_ACCMODE;
        var mode = nodes.Attributes(node).mode;
        // Beyond what default_permissions has checked: sysfs refuses root, too, where the mode has no such bit at all.
        var mayNotWrite = access != 0 && (!directory.Files[file].IsWritable || (mode & 0x92) == 0); // 0222
        var mayNotRead = access != 1 && (mode & 0x124) == 0; // 0444
        if (mayNotWrite || mayNotRead)
        {
            return Errno.EACCES;
        }

        if ((asked.flags & O_DIRECT) != 0)
        {
            return Errno.EINVAL;
        }

        if (open.Count >= OpenFilesMax)
        {
            return Errno.ENFILE;
        }

        // A handle names its file, so that it means something to a successor, too.
        var handle = (++opened << FileBits) | (uint)file;
        open.Add(handle, new FuseOpenFile(file));
        // Closing must not wait for us (FOPEN_NOFLUSH, Linux 5.16): a process that is killed with a file open would
        // hang in its exit if the server, or it is the server itself, were dying, too.
        length = Put(new fuse_open_out { fh = handle, open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH });
        return 0;
    }

    private bool TryFindOpen(ulong handle, [NotNullWhen(true)] out FuseOpenFile? file)
    {
        var index = handle & ((1 << FileBits) - 1);
        if (!open.TryGetValue(handle, out file) && takenOver && index < (ulong)directory.Files.Count
            && open.Count < OpenFilesMax)
        {
            // Opened under the one before us; what it may be used for, the kernel knows.
            file = new FuseOpenFile((int)index);
            open.Add(handle, file);
        }

        return file is not null;
    }

    private int Read(ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        if (!MemoryMarshal.TryRead(body, out fuse_read_in asked))
        {
            return Errno.EINVAL;
        }

        if (!TryFindOpen(asked.fh, out var file))
        {
            return Errno.EBADF;
        }

        var room = (int)Math.Min(asked.size, (uint)(answer.Length - HeaderBytes));
        length = file.Read(directory, asked.offset, answer.AsSpan(HeaderBytes, room));
        return 0;
    }

    private int Release(ReadOnlySpan<byte> body)
    {
        if (!MemoryMarshal.TryRead(body, out fuse_release_in asked))
        {
            return Errno.EINVAL;
        }

        return open.Remove(asked.fh) || takenOver ? 0 : Errno.EBADF;
    }

    private int ReadDirectory(ulong node, ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        if (node != FUSE_ROOT_ID)
        {
            return Errno.ENOTDIR;
        }

        if (!MemoryMarshal.TryRead(body, out fuse_read_in asked))
        {
            return Errno.EINVAL;
        }

        var room = (int)Math.Min(asked.size, (uint)(answer.Length - HeaderBytes));
        length = nodes.List(asked.offset, answer.AsSpan(HeaderBytes, room));
        return 0;
    }

    private int ListAttributes(ReadOnlySpan<byte> body, out int length)
    {
        length = 0;
        if (!MemoryMarshal.TryRead(body, out fuse_getxattr_in asked))
        {
            return Errno.EINVAL;
        }

        // None: asked for the room that the list needs, or for the list itself.
        length = asked.size == 0 ? Put(default(fuse_getxattr_out)) : 0;
        return 0;
    }

    private void Write(in fuse_in_header header, ReadOnlySpan<byte> body)
    {
        var isWhole = MemoryMarshal.TryRead(body, out fuse_write_in asked)
            && asked.size <= (uint)(body.Length - Unsafe.SizeOf<fuse_write_in>());
        if (!isWhole || !TryFindOpen(asked.fh, out var file))
        {
            Fail(header.unique, isWhole ? Errno.EBADF : Errno.EINVAL);
            return;
        }

        var data = body.Slice(Unsafe.SizeOf<fuse_write_in>(), (int)Math.Min(asked.size, WriteMax)).ToArray();
        if (data.Length == 0)
        {
            AnswerWrite(header.unique, 0);
            return;
        }

        _ = WriteAndAnswer(header.unique, file.File, data);
    }

    private async Task WriteAndAnswer(ulong unique, int file, byte[] data)
    {
        var interrupted = new CancellationTokenSource();
        writing[unique] = interrupted;
        int result;
        try
        {
            result = await directory.Write(file, data, interrupted.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            result = -Errno.EINTR;
        }
#pragma warning disable CA1031 // The top of a request: the writer gets an error, whatever it was.
        catch (Exception)
#pragma warning restore CA1031
        {
            result = -Errno.EIO;
        }

        writing.TryRemove(unique, out _);
        AnswerWrite(unique, result);
    }

    // Not disposed anywhere: a source without timer or handle holds nothing, and an interrupt may come at any time.
    private void Interrupt(ReadOnlySpan<byte> body)
    {
        if (MemoryMarshal.TryRead(body, out fuse_interrupt_in asked)
            && writing.TryGetValue(asked.unique, out var waiting))
        {
            waiting.Cancel();
        }
    }

    private void AnswerWrite(ulong unique, int result)
    {
        if (result < 0)
        {
            Fail(unique, -result);
            return;
        }

        Span<byte> message = stackalloc byte[HeaderBytes + Unsafe.SizeOf<fuse_write_out>()];
        MemoryMarshal.Write(message[HeaderBytes..], new fuse_write_out { size = (uint)result });
        WriteHeader(message, unique, 0);
        reply(message);
    }

    private void Fail(ulong unique, int error)
    {
        Span<byte> message = stackalloc byte[HeaderBytes];
        WriteHeader(message, unique, error);
        reply(message);
    }

    private void Send(ulong unique, int error, ReadOnlySpan<byte> body)
    {
        var message = answer.AsSpan(0, HeaderBytes + body.Length);
        WriteHeader(message, unique, error);
        reply(message);
    }

    private static void WriteHeader(Span<byte> message, ulong unique, int error) => MemoryMarshal.Write(
        message, new fuse_out_header { len = (uint)message.Length, error = -error, unique = unique });

    private int Put<T>(T body)
        where T : unmanaged
    {
        MemoryMarshal.Write(answer.AsSpan(HeaderBytes), body);
        return Unsafe.SizeOf<T>();
    }
}
