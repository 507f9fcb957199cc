using System.Runtime.InteropServices;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.Userfaultfd;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>
/// Serves the userfaultfds of merged mappings.
/// <para>
/// The rule is stateless, which is what makes the keeper replaceable at any instant: store pages are never swapped and
/// fork copies the page tables of such mappings, so an <em>empty</em> page-table entry in a merged mapping means that
/// the application dropped the page (MADV_DONTNEED) or grew the mapping (mremap). Both must read as zeros, so every
/// fault is answered with zeros, whichever address, address space or keeper it is.
/// </para>
/// <para>
/// A fork hands us the child's own userfaultfd; it is served like its parent's for as long as the child's address space
/// lives. Closing it earlier would let the kernel show store bytes in the child. Used by the keeper's one thread.
/// </para>
/// </summary>
internal sealed class FaultServer : IDisposable
{
    /// <summary>
    /// Pages filled by one answer. Zero-page entries cost no memory, so reading ahead is free: measured 0.4 us per page
    /// instead of 5 to 16. Pages with memory behind them are filled ahead only for a sequential writer.
    /// </summary>
    internal const int DefaultWindowPages = 16;

    private const int PageBytes = 4096;
    private const int MessagesPerRead = 64;
    // Any address would do to ask whether the owner is alive: what an empty entry gets there is right by the rule
    // above.
    private const ulong ProbeAddress = 0x1000_0000;
    private const ulong PageMask = ~(ulong)(PageBytes - 1);

    private readonly int _epoll;
    private readonly FaultAnswer _answer;
    private readonly uint _windowBytes;
    private readonly unsafe uffd_msg* _messages;
    private readonly unsafe byte* _zeros;
    private readonly Dictionary<FileIdentity, int> _slotOf = [];
    private readonly Stack<int> _freeSlots = new();
    private Held[] _held = new Held[64];
    private int _slotEnd;
    private int _probeCursor;

    internal unsafe FaultServer(int epoll, FaultAnswer answer, int windowPages)
    {
        _epoll = epoll;
        _answer = answer;
        _windowBytes = (uint)Math.Clamp(windowPages, 1, 256) * PageBytes;
        // SAFETY: zeroed blocks of the sizes that Serve and Copy state to the kernel; freed by Dispose.
        _messages = (uffd_msg*)NativeMemory.AllocZeroed(MessagesPerRead, (nuint)sizeof(uffd_msg));
        _zeros = (byte*)NativeMemory.AllocZeroed(_windowBytes);
    }

    /// <summary>Called with the identity of a descriptor whose address space is gone, after it was closed.</summary>
    internal Action<FileIdentity>? Gone { get; set; }

    /// <summary>Descriptors held, targets' and forked children's.</summary>
    internal int Count => _slotOf.Count;

    internal long Faults { get; private set; }

    internal long PagesFilled { get; private set; }

    internal long Forks { get; private set; }

    internal long Wakes { get; private set; }

    internal long Dropped { get; private set; }

    /// <summary>Takes over a userfaultfd. If the same one is held already, closes <paramref name="fd"/>.</summary>
    internal unsafe FileIdentity Add(int fd)
    {
        FileIdentity identity = KeeperFiles.IdentityOf(fd);
        if (_slotOf.ContainsKey(identity))
        {
            _ = close(fd);
            return identity;
        }

        if (!_freeSlots.TryPop(out int slot))
        {
            slot = _slotEnd++;
            if (slot == _held.Length)
            {
                Array.Resize(ref _held, slot * 2);
            }
        }

        // Poll reports an error instead of readiness on a blocking userfaultfd, and a read could stall everybody.
        _ = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
        _held[slot] = new Held { Fd = fd, Identity = identity };
        _slotOf.Add(identity, slot);
        epoll_event interest = new() { events = EPOLLIN, data = KeeperTag.Make(KeeperTag.Memory, slot) };
        // SAFETY: the kernel copies the event during the call.
        if (epoll_ctl(_epoll, EPOLL_CTL_ADD, fd, &interest) != 0)
        {
            KeeperLog.Write($"cannot watch a userfaultfd: errno {LastErrno}");
        }

        // A dead keeper may have read faults without answering them. The kernel does not report them again, so all who
        // wait look again, and those who still have to wait are reported.
        FaultFill.WakeAll(fd);
        return identity;
    }

    internal bool Holds(FileIdentity identity) => _slotOf.ContainsKey(identity);

    /// <summary>Closes one descriptor; no-op if it is not held.</summary>
    internal void Remove(FileIdentity identity)
    {
        if (_slotOf.TryGetValue(identity, out int slot))
        {
            Close(slot);
        }
    }

    /// <summary>Reads and answers what is pending on one descriptor. No allocation unless a fork is among it.</summary>
    internal unsafe void Serve(int slot)
    {
        if (slot >= _slotEnd || _held[slot].Fd == 0)
        {
            return;
        }

        int fd = _held[slot].Fd;
        nint bytes = read(fd, _messages, (nuint)(MessagesPerRead * sizeof(uffd_msg)));
        if (bytes < 0)
        {
            ReadFailed(fd, LastErrno);
            return;
        }

        int count = (int)(bytes / sizeof(uffd_msg));
        for (int i = 0; i < count; i++)
        {
            // SAFETY: the kernel has just filled `count` messages of the buffer, which holds MessagesPerRead.
            uffd_msg message = _messages[i];
            switch (message.@event)
            {
                case UFFD_EVENT_PAGEFAULT when _held[slot].Fd == fd:
                    Faults++;
                    bool write = (message.pagefault_flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
                    Resolve(slot, message.pagefault_address & PageMask, write);
                    break;
                case UFFD_EVENT_FORK:
                    Forks++;
                    Add((int)message.fork_ufd);
                    // Two for one: the table cannot grow past twice the number of living children.
                    Probe(2);
                    break;
                default:
                    // Remap, remove, unmap: reading the event is all its sender waits for.
                    break;
            }
        }
    }

    /// <summary>Asks the next <paramref name="count"/> descriptors whether their address space lives; closes the
    /// dead.</summary>
    internal void Probe(int count)
    {
        for (int looked = 0; count > 0 && looked < _slotEnd; looked++)
        {
            _probeCursor = _probeCursor + 1 < _slotEnd ? _probeCursor + 1 : 0;
            if (_held[_probeCursor].Fd == 0)
            {
                continue;
            }

            count--;
            if (!IsAlive(_probeCursor))
            {
                Drop(_probeCursor);
            }
        }
    }

    public unsafe void Dispose()
    {
        for (int slot = 0; slot < _slotEnd; slot++)
        {
            if (_held[slot].Fd != 0)
            {
                Close(slot);
            }
        }

        // SAFETY: allocated by the constructor, used by this object alone, and disposed once by its owner.
        NativeMemory.Free(_messages);
        NativeMemory.Free(_zeros);
    }

    private bool IsAlive(int slot) => FaultFill.ZeroPages(_held[slot].Fd, ProbeAddress, PageBytes) != -ESRCH;

    private void Resolve(int slot, ulong page, bool write)
    {
        int fd = _held[slot].Fd;
        long done;
        if (_answer == FaultAnswer.Stale)
        {
            done = FaultFill.StorePages(fd, page, PageBytes);
        }
        else
        {
            // A reader gets the kernel's zero page, for free also ahead. A write-protect marker in the entry makes
            // ZEROPAGE answer EEXIST, and COPY is what replaces it.
            done = write ? -EEXIST : Zero(fd, page);
            if (done == -EEXIST)
            {
                done = Copy(ref _held[slot], page);
            }
        }

        if (done > 0)
        {
            PagesFilled += done / PageBytes;
        }
        else if (done == -ESRCH)
        {
            Drop(slot);
        }
        else
        {
            // EEXIST: somebody else filled it. ENOENT: unmapped or un-merged meanwhile. EAGAIN: a fork or remap of the
            // same address space is under way, and its event may be the next one to read, so waiting here could last
            // for ever. In each case the toucher looks again and faults again if it still has to.
            Wakes++;
            FaultFill.Wake(fd, page, PageBytes);
        }
    }

    // The kernel refuses a window that reaches past the end of the mapping; then the one page has to do.
    private long Zero(int fd, ulong page)
    {
        long done = FaultFill.ZeroPages(fd, page, _windowBytes);
        return done == -ENOENT && _windowBytes > PageBytes ? FaultFill.ZeroPages(fd, page, PageBytes) : done;
    }

    private unsafe long Copy(ref Held held, ulong page)
    {
        uint bytes = held.NextPage == page ? Math.Min(held.CopiedBytes * 2, _windowBytes) : PageBytes;
        long done = FaultFill.CopyPages(held.Fd, page, _zeros, bytes);
        if (done == -ENOENT && bytes > PageBytes)
        {
            done = FaultFill.CopyPages(held.Fd, page, _zeros, PageBytes);
        }

        if (done > 0)
        {
            held.NextPage = page + (ulong)done;
            held.CopiedBytes = (uint)done;
        }

        return done;
    }

    private void ReadFailed(int fd, int errno)
    {
        if (errno is EAGAIN or EINTR)
        {
            return;
        }

        // A fork event needs a free descriptor number; the forking parent waits until there is one.
        Probe(_slotEnd);
        KeeperLog.Write($"reading a userfaultfd failed: errno {errno}, {Count} held");
        if (errno is EMFILE or ENFILE)
        {
            Thread.Sleep(1);
        }
    }

    private void Drop(int slot)
    {
        Dropped++;
        FileIdentity identity = _held[slot].Identity;
        Close(slot);
        Gone?.Invoke(identity);
    }

    private unsafe void Close(int slot)
    {
        int fd = _held[slot].Fd;
        // Explicitly: the target holds the same open file, so closing ours alone would leave it in the epoll set.
        _ = epoll_ctl(_epoll, EPOLL_CTL_DEL, fd, null);
        _slotOf.Remove(_held[slot].Identity);
        _ = close(fd);
        _held[slot] = default;
        _freeSlots.Push(slot);
    }

    private struct Held
    {
        internal int Fd;
        internal FileIdentity Identity;

        /// <summary>Page after the last copied window, to recognise a sequential writer.</summary>
        internal ulong NextPage;
        internal uint CopiedBytes;
    }
}
