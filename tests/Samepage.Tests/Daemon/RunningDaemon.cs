using System.Globalization;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using Samepage.Cli;
using Samepage.Daemon;
using Samepage.Daemon.Hosting;
using Xunit;

namespace Samepage.Tests;

/// <summary>
/// A whole daemon in this process, with targets in memory and a socket of its own, and ways to ask it.
/// </summary>
internal sealed class RunningDaemon : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;

    private RunningDaemon(DaemonOptions options, MemoryTargets targets)
    {
        Socket = options.Socket;
        Targets = targets;
        _running = Task.Run(() => DaemonHost.Run(options, _stop.Token));
        Http = new HttpClient(new SocketsHttpHandler { ConnectCallback = Connect })
        {
            BaseAddress = new Uri("http://samepage"),
        };
    }

    public string Socket { get; }

    public MemoryTargets Targets { get; }

    public HttpClient Http { get; }

    private static readonly Lazy<string> Folder = new(() =>
    {
        string folder = Directory.CreateTempSubdirectory("samepage-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        return folder;
    });

    private static int sockets;

    public static string NewSocket()
    {
        string directory = Path.Combine(Folder.Value, Interlocked.Increment(ref sockets).ToString(CultureInfo.InvariantCulture));
        Directory.CreateDirectory(directory);
        return Path.Combine(directory, "s");
    }

    public static async Task<RunningDaemon> Start(
        MemoryTargets? targets = null,
        string? socket = null,
        IStateKeeper? keeper = null,
        bool unmergeOnExit = false)
    {
        targets ??= new MemoryTargets();
        var daemon = new RunningDaemon(
            new DaemonOptions
            {
                Socket = socket ?? NewSocket(),
                UnmergeOnExit = unmergeOnExit,
                LogLevel = Microsoft.Extensions.Logging.LogLevel.None,
                OpenTargets = () => targets,
                Keeper = keeper ?? new NoStateKeeper(),
            },
            targets);
        await daemon.Answers();
        return daemon;
    }

    /// <summary>
    /// Two processes of 64 pages with the same content and 8 zero pages each, attached; scanning is off.
    /// </summary>
    public static async Task<(RunningDaemon Daemon, MemoryProcess First, MemoryProcess Second)> StartWithTwins()
    {
        var targets = new MemoryTargets();
        var range = new PageRange(World.Base, World.Base + 72);
        MemoryProcess first = targets.Machine.Start(range);
        MemoryProcess second = targets.Machine.Start(range);
        foreach (MemoryProcess process in new[] { first, second })
        {
            process.Fill(range, page => page - World.Base < 64 ? page : 0);
        }

        RunningDaemon daemon = await Start(targets);
        daemon.Cli("set", "run=0").Good();
        daemon.Cli("attach", $"{first.Pid}", $"{second.Pid}").Good();
        return (daemon, first, second);
    }

    public async Task<JsonElement> Get(string path) =>
        await Http.GetFromJsonAsync<JsonElement>(path, TestContext.Current.CancellationToken);

    public CliResult Cli(params string[] args) => CliResult.Of([args[0], "--socket", Socket, .. args[1..]]);

    /// <summary>Ends it as SIGTERM does.</summary>
    public async Task Stop()
    {
        await _stop.CancelAsync();
        await _running;
    }

    public async ValueTask DisposeAsync()
    {
        await Stop();
        Http.Dispose();
        _stop.Dispose();
    }

    private async Task Answers()
    {
        for (int i = 0; ; i++)
        {
            if (_running.IsCompleted)
            {
                await _running;
            }

            try
            {
                await Get("/v1/status");
                return;
            }
            catch (HttpRequestException) when (i < 1000)
            {
                await Task.Delay(10, TestContext.Current.CancellationToken);
            }
        }
    }

    private async ValueTask<Stream> Connect(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Socket), cancel);
        return new NetworkStream(socket, ownsSocket: true);
    }
}

/// <summary>What one run of the command line gave.</summary>
internal sealed record CliResult(int Code, string Out, string Error)
{
    /// <summary>Standard output as the one JSON object it has to be.</summary>
    public JsonElement Json => JsonDocument.Parse(Out).RootElement;

    public static CliResult Of(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = CommandLine.Run(args, new Terminal(output, error, OutIsTerminal: false, ErrorIsTerminal: false));
        return new CliResult(code, output.ToString(), error.ToString());
    }

    public CliResult Good()
    {
        Assert.Equal((0, ""), (Code, Error));
        return this;
    }

    /// <summary>Failed with this code and exactly one line that says so.</summary>
    public void Bad(int code, string saying)
    {
        Assert.Equal("", Out);
        Assert.StartsWith("samepage: ", Error, StringComparison.Ordinal);
        Assert.Equal(Error.Length - 1, Error.IndexOf('\n', StringComparison.Ordinal));
        Assert.Contains(saying, Error, StringComparison.Ordinal);
        Assert.Equal(code, Code);
    }
}
