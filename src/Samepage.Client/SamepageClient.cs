using System.Globalization;

namespace Samepage;

/// <summary>
/// The daemon's requests, by HTTP over its unix socket (docs/openapi.json describes them). Thread-safe; one object
/// serves a whole program. Connects when a request needs it, and again after a daemon was replaced; never starts a
/// daemon. Since 0.1.
/// </summary>
/// <remarks>
/// Every request throws <see cref="SamepageException"/> when it was not done: with
/// <see cref="SamepageError.NoDaemon"/> when none answers, with <see cref="SamepageError.NotPermitted"/> when the socket
/// belongs to another user, and otherwise with the daemon's own reason. Cancelling ends long work in the daemon, too,
/// with everything consistent. The daemon works on one request that changes something at a time: others wait.
/// </remarks>
public sealed partial class SamepageClient : IDisposable
{
    private readonly DaemonConnection _daemon;

    /// <summary>A client of the daemon at the usual place, <see cref="DefaultSocket"/>.</summary>
    public SamepageClient()
        : this(DefaultSocket)
    {
    }

    /// <summary>A client. Nothing is connected yet.</summary>
    /// <param name="socket">Path of the daemon's socket.</param>
    public SamepageClient(string socket)
    {
        ArgumentException.ThrowIfNullOrEmpty(socket);
        Socket = Path.GetFullPath(socket);
        _daemon = new DaemonConnection(Socket);
    }

    /// <summary>
    /// Where the daemon answers when nobody says otherwise: /run/samepage.sock, for other users than root
    /// samepage.sock in $XDG_RUNTIME_DIR where that is set.
    /// </summary>
    public static string DefaultSocket
    {
        get
        {
            string? folder = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
            bool own = !Environment.IsPrivilegedProcess && !string.IsNullOrEmpty(folder);
            return Path.Combine(own ? folder! : "/run", "samepage.sock");
        }
    }

    /// <summary>Path of the daemon's socket.</summary>
    public string Socket { get; }

    /// <summary>All counters, at one moment.</summary>
    /// <param name="cancel">Ends the wait.</param>
    public Task<StatusDocument> GetStatusAsync(CancellationToken cancel = default) =>
        _daemon.Ask(HttpMethod.Get, "/v1/status", DaemonConnection.Json.StatusDocument, cancel);

    /// <summary>All attached processes.</summary>
    /// <param name="cancel">Ends the wait.</param>
    public async Task<IReadOnlyList<TargetDocument>> GetTargetsAsync(CancellationToken cancel = default) =>
        (await _daemon.Ask(HttpMethod.Get, "/v1/targets", DaemonConnection.Json.TargetsDocument, cancel)
            .ConfigureAwait(false)).Targets;

    /// <summary>One attached process.</summary>
    /// <param name="pid">Process id.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <exception cref="SamepageException"><see cref="SamepageError.NotFound"/>: it is not attached.</exception>
    public Task<TargetDocument> GetTargetAsync(int pid, CancellationToken cancel = default) =>
        _daemon.Ask(HttpMethod.Get, Target(pid), DaemonConnection.Json.TargetDocument, cancel);

    /// <summary>Merges memory of a running process from now on.</summary>
    /// <param name="request">Which process and how.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <exception cref="SamepageException"><see cref="SamepageError.NotFound"/>: there is no such process or range;
    /// <see cref="SamepageError.Failed"/>: it cannot be attached, and the message says why.</exception>
    public Task<TargetDocument> AttachAsync(AttachBody request, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        if (request.AfterExec)
        {
            throw new ArgumentException(
                "AfterExec is about the connection's own process, which this client shares", nameof(request));
        }

        return _daemon.Ask(
            HttpMethod.Post, "/v1/targets", request, DaemonConnection.Json.AttachBody,
            DaemonConnection.Json.TargetDocument, cancel);
    }

    /// <summary>Un-merges a process and removes every trace from it.</summary>
    /// <param name="pid">Process id.</param>
    /// <param name="cancel">Ends it early; the process stays attached then.</param>
    public Task<UnmergeDocument> DetachAsync(int pid, CancellationToken cancel = default) =>
        _daemon.Ask(HttpMethod.Delete, Target(pid), DaemonConnection.Json.UnmergeDocument, cancel);

    /// <summary>
    /// Merges a span of a process from now on. The process is attached with its first span; a process attached as a
    /// whole has the span already. At most 128 separate spans per process (<see cref="SamepageError.Failed"/>).
    /// </summary>
    /// <param name="pid">Process id.</param>
    /// <param name="address">First byte; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, at least one page.</param>
    /// <param name="domain">Trust domain; null for the one the process is in, or its user's.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <exception cref="SamepageException"><see cref="SamepageError.NotFound"/>: no such process, or no memory there.
    /// </exception>
    public Task<TargetDocument> RegisterRangeAsync(
        int pid, ulong address, ulong length, string? domain = null, CancellationToken cancel = default) =>
        _daemon.Ask(
            HttpMethod.Post, Target(pid) + "/ranges", new RangeBody { Range = Span(address, length), Domain = domain },
            DaemonConnection.Json.RangeBody, DaemonConnection.Json.TargetDocument, cancel);

    /// <summary>
    /// Un-merges a span and merges it no more; the process is detached with its last span. Nothing happens to a process
    /// that is attached as a whole.
    /// </summary>
    /// <param name="pid">Process id.</param>
    /// <param name="address">First byte; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, at least one page.</param>
    /// <param name="cancel">Ends it early; the span stays registered then.</param>
    public Task<UnmergeDocument> UnregisterRangeAsync(
        int pid, ulong address, ulong length, CancellationToken cancel = default) =>
        _daemon.Ask(
            HttpMethod.Delete, $"{Target(pid)}/ranges/{Span(address, length)}",
            DaemonConnection.Json.UnmergeDocument, cancel);

    /// <summary>Scans and merges until nothing is left to merge.</summary>
    /// <param name="pids">Processes to look at; null or empty for all. Equal pages of others are merged with them.</param>
    /// <param name="progress">Told now and then how far it has come.</param>
    /// <param name="cancel">Ends it early; what was merged stays merged.</param>
    public async Task<MergeDocument> MergeAsync(
        IReadOnlyList<int>? pids = null, IProgress<ProgressDocument>? progress = null,
        CancellationToken cancel = default) =>
        (await _daemon.Work("/v1/merge", pids, progress, cancel).ConfigureAwait(false)).Merged
        ?? throw DaemonConnection.NoResult();

    /// <summary>Gives processes private copies of all their merged pages. They stay attached.</summary>
    /// <param name="pids">Processes; null or empty for all.</param>
    /// <param name="progress">Told now and then how far it has come.</param>
    /// <param name="cancel">Ends it early; what was un-merged stays so.</param>
    public async Task<UnmergeDocument> UnmergeAsync(
        IReadOnlyList<int>? pids = null, IProgress<ProgressDocument>? progress = null,
        CancellationToken cancel = default) =>
        (await _daemon.Work("/v1/unmerge", pids, progress, cancel).ConfigureAwait(false)).Unmerged
        ?? throw DaemonConnection.NoResult();

    /// <summary>All settings.</summary>
    /// <param name="cancel">Ends the wait.</param>
    public async Task<IReadOnlyList<KnobDocument>> GetKnobsAsync(CancellationToken cancel = default) =>
        (await _daemon.Ask(HttpMethod.Get, "/v1/knobs", DaemonConnection.Json.KnobsDocument, cancel)
            .ConfigureAwait(false)).Knobs;

    /// <summary>One setting.</summary>
    /// <param name="name">KSM's name of it, as "pages_to_scan".</param>
    /// <param name="cancel">Ends the wait.</param>
    public Task<KnobDocument> GetKnobAsync(string name, CancellationToken cancel = default) =>
        _daemon.Ask(HttpMethod.Get, Knob(name), DaemonConnection.Json.KnobDocument, cancel);

    /// <summary>Changes a setting; with run=2 it answers when everything is un-merged.</summary>
    /// <param name="name">KSM's name of it.</param>
    /// <param name="value">As one would write it to KSM's file of that name.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <exception cref="SamepageException"><see cref="SamepageError.Usage"/>: no such setting or value.</exception>
    public Task<KnobDocument> SetKnobAsync(string name, string value, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(value);
        return _daemon.Ask(
            HttpMethod.Put, Knob(name), new KnobBody { Value = value }, DaemonConnection.Json.KnobBody,
            DaemonConnection.Json.KnobDocument, cancel);
    }

    /// <summary>
    /// What happens from now on: first an event of kind "listening", from which on nothing is missed; ends when the
    /// daemon does.
    /// </summary>
    /// <param name="cancel">Ends it.</param>
    public IAsyncEnumerable<EventDocument> ListenAsync(CancellationToken cancel = default) =>
        _daemon.Listen("/v1/events", DaemonConnection.Json.EventDocument, cancel);

    /// <summary>Closes connections. Memory allocated with this client stays registered.</summary>
    public void Dispose() => _daemon.Dispose();

    private static string Target(int pid) => string.Create(CultureInfo.InvariantCulture, $"/v1/targets/{pid}");

    private static string Knob(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return "/v1/knobs/" + Uri.EscapeDataString(name);
    }

    private static string Span(ulong address, ulong length) => $"{address:x}-{address + length:x}";
}
