using System.Buffers;
using System.Globalization;
using Samepage.Native;

namespace Samepage;

/// <summary>How <see cref="MergeableMemory"/> is registered.</summary>
public sealed record MergeableMemoryOptions
{
    /// <summary>
    /// Trust domain: pages are shared only inside one. Null (default) for the process's user, "uid:N"; 1 to 64
    /// letters, digits, colons, dots, hyphens or underscores. All memory of one process is in one domain.
    /// </summary>
    public string? Domain { get; init; }

    /// <summary>
    /// True: when no daemon can register it, the memory is there all the same, and only not merged
    /// (<see cref="MergeableMemory.IsRegistered"/> says so). False (default): that is an exception.
    /// </summary>
    public bool AllowUnregistered { get; init; }
}

/// <summary>
/// Zeroed, page-aligned memory of this process whose pages the daemon merges with equal pages of other processes in
/// the same trust domain. It is used like any other memory, from any thread: reads cost nothing extra, and a write to
/// a merged page gets a private copy of that page from the kernel (one page fault). Since 0.1; needs x86-64, Linux
/// 6.8 and a daemon on this host.
/// </summary>
/// <remarks>
/// <para>
/// Dispose it: the memory is freed when <see cref="IDisposable.Dispose"/> has been called and every handle from
/// <see cref="Pin"/> has been disposed. As with any native memory, a span taken before must not be used after. An
/// object that is never disposed keeps its memory until the process ends, because a span does not keep the object
/// alive and must not lose its memory.
/// </para>
/// <para>
/// While it is registered the process is stopped now and then for less than a millisecond, as every attached process
/// is. At most 128 separate spans of a process can be registered; prefer one large allocation to many small ones.
/// </para>
/// </remarks>
public sealed class MergeableMemory : MemoryManager<byte>, IAsyncDisposable
{
    /// <summary>Most bytes one object can have: 2,147,479,552.</summary>
    public const int LengthMax = int.MaxValue & ~(PageSize.Bytes - 1);

    // How long the daemon may take to forget a span before its addresses are given back to the process anyway.
    private static readonly TimeSpan FarewellLimit = TimeSpan.FromSeconds(60);

    private readonly SamepageClient _client;
    private readonly PrivatePages _pages;
    private readonly int _length;
    private readonly string? _domain;
    private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _asked;
    private volatile bool _registered;
    private int _disposed;
    private int _uses = 1; // the owner's, and one for each handle

    private MergeableMemory(SamepageClient client, int length, string? domain)
    {
        _client = client;
        _length = length;
        _domain = domain;
        _pages = PrivatePages.Map(((nuint)length + PageSize.Bytes - 1) & ~(nuint)(PageSize.Bytes - 1));
    }

    /// <summary>Address of the first byte; a multiple of 4096.</summary>
    public ulong Address => _pages.Address;

    /// <summary>Length in bytes, as asked for. The rest of the last page belongs to nobody else.</summary>
    public int Length => _length;

    /// <summary>True while the daemon is known to have been told of this memory.</summary>
    public bool IsRegistered => _registered && Volatile.Read(ref _disposed) == 0;

    /// <summary>Allocates memory and registers it with the daemon.</summary>
    /// <param name="client">The daemon to register with; must outlive the memory.</param>
    /// <param name="length">Bytes, 1 to <see cref="LengthMax"/>; a multiple of 4096 wastes nothing.</param>
    /// <param name="options">How; null for the defaults.</param>
    /// <param name="cancel">Ends the wait for the daemon; nothing is allocated then.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is out of range.</exception>
    /// <exception cref="InsufficientMemoryException">The kernel gives no memory.</exception>
    /// <exception cref="SamepageException">It could not be registered; nothing is allocated then.</exception>
    public static async Task<MergeableMemory> AllocateAsync(
        SamepageClient client, int length, MergeableMemoryOptions? options = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(client);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, LengthMax);
        var memory = new MergeableMemory(client, length, options?.Domain);
        try
        {
            await memory.RegisterAsync(cancel).ConfigureAwait(false);
        }
        catch (SamepageException) when (options?.AllowUnregistered == true)
        {
            // It is ordinary memory then.
        }
        catch
        {
            await memory.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return memory;
    }

    /// <summary>Blocking form of <see cref="AllocateAsync"/>, for code that is not asynchronous.</summary>
    /// <inheritdoc cref="AllocateAsync"/>
    public static MergeableMemory Allocate(
        SamepageClient client, int length, MergeableMemoryOptions? options = null) =>
        Task.Run(() => AllocateAsync(client, length, options)).GetAwaiter().GetResult();

    /// <summary>
    /// Registers the memory with the daemon. Only needed when it was not registered at first, or when a daemon has
    /// ended on purpose and another was started; a daemon that crashed hands its registrations to its successor.
    /// Registering again does no harm.
    /// </summary>
    /// <param name="cancel">Ends the wait.</param>
    /// <exception cref="ObjectDisposedException">The memory is disposed.</exception>
    /// <exception cref="SamepageException">It could not be registered.</exception>
    public async Task RegisterAsync(CancellationToken cancel = default)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        _asked = true;
        await _client.RegisterRangeAsync(Environment.ProcessId, _pages.Address, _pages.Bytes, _domain, cancel)
            .ConfigureAwait(false);
        _registered = true;
    }

    /// <inheritdoc/>
    /// <exception cref="ObjectDisposedException">The memory is disposed.</exception>
    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        return _pages.Span(_length);
    }

    /// <summary>
    /// The address of an element; the memory stays until the handle is disposed, even when this object is disposed
    /// before. It never moves, pinned or not.
    /// </summary>
    /// <param name="elementIndex">Offset in bytes, 0 to <see cref="Length"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="elementIndex"/> is out of range.</exception>
    /// <exception cref="ObjectDisposedException">The memory is disposed.</exception>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(elementIndex);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(elementIndex, _length);
        int uses = Volatile.Read(ref _uses);
        while (true)
        {
            ObjectDisposedException.ThrowIf(uses == 0 || Volatile.Read(ref _disposed) != 0, this);
            int seen = Interlocked.CompareExchange(ref _uses, uses + 1, uses);
            if (seen == uses)
            {
                return _pages.Handle(elementIndex, this);
            }

            uses = seen;
        }
    }

    /// <summary>Called by the handle from <see cref="Pin"/> when it is disposed; not meant to be called directly.</summary>
    public override void Unpin() => Release();

    /// <summary>Disposes it and waits until the daemon has forgotten it (at most a minute) and it is unmapped.</summary>
    public async ValueTask DisposeAsync()
    {
        ((IDisposable)this).Dispose();
        await _left.Task.ConfigureAwait(false);
    }

    /// <summary>
    /// Frees the memory; does not wait for the daemon. Merged pages are not copied for that: unmapping them is all the
    /// un-merging they need.
    /// </summary>
    protected override void Dispose(bool disposing)
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Release();
        }
    }

    private void Release()
    {
        if (Interlocked.Decrement(ref _uses) == 0)
        {
            _ = Leave();
        }
    }

    // The memory goes at once. Its addresses stay reserved until the daemon has forgotten them: another allocation of
    // this class at the same place would otherwise lose its registration to our farewell.
    private async Task Leave()
    {
        _ = _pages.Vacate();
        try
        {
            if (_asked)
            {
                using var limit = new CancellationTokenSource(FarewellLimit);
                await _client.UnregisterRangeAsync(Environment.ProcessId, _pages.Address, _pages.Bytes, limit.Token)
                    .ConfigureAwait(false);
            }
        }
        catch (Exception error) when (error is SamepageException or OperationCanceledException
            or ObjectDisposedException)
        {
            // No daemon, no registration. A span that stays registered harms nobody: whatever comes to lie there is
            // merged as transparently as this memory was.
        }
        finally
        {
            _pages.Unmap();
            _registered = false;
            _left.SetResult();
        }
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{_length} bytes at 0x{_pages.Address:x}");
}
