using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Samepage.Daemon.Live;
using Samepage.Linux.Keeper;
using Samepage.Linux.Tests.Support;
using DetachedProcess = Samepage.Linux.Tests.Support.DetachedProcess;
using KeeperFixture = Samepage.Linux.Tests.Keeper.KeeperFixture;

namespace Samepage.Linux.Tests.Live;

/// <summary>What the executable printed and how it ended.</summary>
internal sealed record CliResult(int Code, string Out, string Error);

/// <summary>
/// The real daemon and the real command line (src/Samepage.Cli), with a socket of their own in a directory of their own.
/// </summary>
internal sealed class LiveDaemon : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly string _directory = Directory.CreateTempSubdirectory("samepage-live-").FullName;
    private readonly List<DetachedProcess> _started = [];
    private readonly HttpClient _http;

    public LiveDaemon()
    {
        Puppet.SkipUnlessRoot();
        Socket = Path.Combine(_directory, "d.sock");
        Log = Path.Combine(_directory, "log");
        _http = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancel) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(Socket), cancel).ConfigureAwait(false);
                return new NetworkStream(socket, ownsSocket: true);
            },
            PooledConnectionLifetime = TimeSpan.Zero,
        })
        { BaseAddress = new Uri("http://samepage"), Timeout = Limit };
    }

    public string Socket { get; }

    public string Log { get; }

    /// <summary>The executable, built before the tests as a dependency of theirs.</summary>
    public static string Program
    {
        get
        {
            string path = AppContext.BaseDirectory
                .Replace("/tests/Samepage.Linux.Tests/", "/src/Samepage.Cli/", StringComparison.Ordinal);
            return Path.Combine(path, "linux-x64", "samepage");
        }
    }

    private static string RuntimeRoot =>
        Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));

    public static IReadOnlyList<(string Name, string Value)> Variables(string log) =>
        [("DOTNET_ROOT", RuntimeRoot), ("SAMEPAGE_LOG", log), ("DOTNET_NOLOGO", "1")];

    /// <summary>Starts a daemon and does not wait for it.</summary>
    public void Start() =>
        _started.Add(DetachedProcess.Start(Program, ["daemon", "--socket", Socket], Variables(Log)));

    /// <summary>Process id of the daemon that answers; null when none does.</summary>
    public int? Pid => TryStatus() is { } status ? status.GetProperty("pid").GetInt32() : null;

    /// <summary>Waits for a daemon other than <paramref name="dead"/> that has <paramref name="targets"/> targets.</summary>
    public int Await(int dead, int targets, TimeSpan limit)
    {
        for (var watch = Stopwatch.StartNew(); ; Thread.Sleep(5))
        {
            if (TryStatus() is { } status && status.GetProperty("pid").GetInt32() is var pid && pid != dead
                && status.GetProperty("targets").GetInt32() >= targets)
            {
                return pid;
            }

            if (watch.Elapsed > limit)
            {
                throw new TimeoutException(
                    $"no daemon with {targets} targets answers: {TryStatus()?.GetRawText() ?? "no answer"}\n{LogTail}");
            }
        }
    }

    public string LogTail =>
        (File.Exists(Log) ? string.Join('\n', File.ReadLines(Log).TakeLast(40)) : "(no log)")
        + $"\n{_started.LastOrDefault()?.Errors}";

    /// <summary>A request and its answer.</summary>
    public JsonElement Ask(HttpMethod method, string path, string? body = null)
    {
        using HttpResponseMessage answer = Send(method, path, body).GetAwaiter().GetResult();
        string text = answer.Content.ReadAsStringAsync().GetAwaiter().GetResult();
        Assert.True(answer.IsSuccessStatusCode, $"{method} {path}: {(int)answer.StatusCode} {text}\n{LogTail}");
        return text.Length == 0 ? default : JsonDocument.Parse(text).RootElement.Clone();
    }

    /// <summary>A request that has to be refused, and the problem document that says why.</summary>
    public JsonElement Refused(HttpMethod method, string path, string? body = null)
    {
        using HttpResponseMessage answer = Send(method, path, body).GetAwaiter().GetResult();
        string text = answer.Content.ReadAsStringAsync().GetAwaiter().GetResult();
        Assert.False(answer.IsSuccessStatusCode, $"{method} {path} {body}: {text}");
        return JsonDocument.Parse(text).RootElement.Clone();
    }

    /// <summary>A request that may be refused.</summary>
    public HttpResponseMessage SendRaw(HttpMethod method, string path, string? body = null) =>
        Send(method, path, body).GetAwaiter().GetResult();

    /// <summary>A request whose answer may never come.</summary>
    public void AskAndForget(HttpMethod method, string path, string? body = null) =>
        _ = Send(method, path, body).ContinueWith(task => _ = task.Exception, TaskScheduler.Default);

    /// <summary>Runs a verb of the executable against this daemon.</summary>
    public CliResult Cli(params string[] arguments) => Run(Program, [arguments[0], "--socket", Socket, .. arguments[1..]]);

    /// <summary>Runs a program with the environment the executable needs.</summary>
    public CliResult Run(string program, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in Variables(Log))
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string printed = process.StandardOutput.ReadToEnd();
        Assert.True(process.WaitForExit(Limit), $"{program} did not end");
        return new CliResult(process.ExitCode, printed, error.Result);
    }

    public void Dispose()
    {
        _http.Dispose();
        string keeperSocket = KeeperLink.SocketBeside(Socket);
        // The keeper first: it would start the next daemon.
        if (KeeperSocket.IsServed(keeperSocket, out int keeper))
        {
            KeeperFixture.Kill(keeper);
        }

        foreach (int daemon in Daemons())
        {
            DetachedProcess.Kill(daemon);
            DetachedProcess.WaitUntil(() => DetachedProcess.StartTimeOf(daemon) == 0, Limit, "the daemon did not end");
        }

        _started.ForEach(process => process.Dispose());
        if (KeeperSocket.IsServed(keeperSocket, out keeper))
        {
            KeeperFixture.Kill(keeper);
        }

        foreach (int holder in DescriptorHolder.Find(DescriptorHolder.NameFor(keeperSocket), 0))
        {
            DescriptorHolder.Kill(holder);
        }

        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Processes whose command line names our socket as a daemon's.</summary>
    private List<int> Daemons()
    {
        var found = new List<int>();
        foreach (string directory in Directory.EnumerateDirectories("/proc"))
        {
            try
            {
                if (int.TryParse(Path.GetFileName(directory), out int pid)
                    && File.ReadAllText($"{directory}/cmdline").Split('\0') is [_, "daemon", .. var rest]
                    && rest.Contains(Socket) && DetachedProcess.StartTimeOf(pid) != 0)
                {
                    found.Add(pid);
                }
            }
            catch (IOException)
            {
                // That process has ended.
            }
        }

        return found;
    }

    private JsonElement? TryStatus()
    {
        try
        {
            using var cancel = new CancellationTokenSource(TimeSpan.FromSeconds(20));
            string text = _http.GetStringAsync("/v1/status", cancel.Token).GetAwaiter().GetResult();
            return JsonDocument.Parse(text).RootElement.Clone();
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException or JsonException)
        {
            return null;
        }
    }

    private Task<HttpResponseMessage> Send(HttpMethod method, string path, string? body)
    {
        var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        }

        return _http.SendAsync(request);
    }
}
