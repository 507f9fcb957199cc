using System.Diagnostics;
using System.Text.Json;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>A samepage daemon of this run: the built program, its own socket, asked by the command line.</summary>
internal sealed class Daemon : IDisposable
{
    private readonly Process _process;
    private readonly string _socket;
    private bool _ended;

    private Daemon(Process process, string socket)
    {
        _process = process;
        _socket = socket;
    }

    /// <summary>The program: SAMEPAGE, or ./samepage of the repository.</summary>
    public static string Program =>
        Environment.GetEnvironmentVariable("SAMEPAGE") ?? Path.Combine(Repository.Root, "samepage");

    /// <summary>Its socket.</summary>
    public string Socket => _socket;

    /// <summary>Process id.</summary>
    public int Pid => _process.Id;

    /// <summary>CPU seconds of the daemon and its keeper.</summary>
    public double CpuSeconds => ProcessFigures.CpuSeconds(Processes());

    /// <summary>Starts one and waits until it answers. Background scanning is off: it merges when told to.</summary>
    public static Daemon Start(string folder)
    {
        var socket = Path.Combine(folder, $"daemon-{Guid.NewGuid():n}.sock");
        var start = new ProcessStartInfo(Program, ["daemon", "--socket", socket])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        var process = Process.Start(start) ?? throw new IOException($"cannot start {Program}");
        var log = new List<string>();
        process.ErrorDataReceived += (_, line) => log.Add(line.Data ?? "");
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        var daemon = new Daemon(process, socket);
        CleanUp.Add(daemon.Dispose);
        for (var waited = Stopwatch.StartNew(); !File.Exists(socket); Thread.Sleep(10))
        {
            if (process.HasExited || waited.Elapsed > TimeSpan.FromSeconds(120))
            {
                throw new IOException($"the daemon did not start: {string.Join(' ', log)}");
            }
        }

        daemon.Ask("set", "run=0");
        return daemon;
    }

    /// <summary>Runs a command of the command line against it; gives what it printed.</summary>
    public string Ask(string verb, params string[] arguments)
    {
        var start = new ProcessStartInfo(Program, [verb, .. arguments, "--socket", _socket])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start) ?? throw new IOException($"cannot start {Program}");
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? output
            : throw new IOException($"samepage {verb} ended with {process.ExitCode}: {error.Result.Trim()}");
    }

    /// <summary>The daemon's status document.</summary>
    public JsonElement Status() => JsonSerializer.Deserialize<JsonElement>(Ask("status", "--json"));

    /// <summary>Attaches processes.</summary>
    public void Attach(IEnumerable<int> pids) =>
        Ask("attach", [.. pids.Select(pid => $"{pid}")]);

    /// <summary>Merges; gives what it took, the targets' own part included.</summary>
    public MergeFigures Merge(IReadOnlyCollection<int> targets)
    {
        var cpu = CpuSeconds;
        var own = ProcessFigures.CpuSeconds(targets);
        var start = Stopwatch.GetTimestamp();
        var merged = JsonSerializer.Deserialize<JsonElement>(
            Ask("merge", [.. targets.Select(pid => $"{pid}"), "--json"]));
        var wall = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return new MergeFigures(
            wall,
            merged.GetProperty("elapsed_seconds").GetDouble(),
            CpuSeconds - cpu,
            ProcessFigures.CpuSeconds(targets) - own,
            merged.GetProperty("bytes_saved").GetInt64());
    }

    /// <summary>Ends it; its targets are expected to have ended before.</summary>
    public void Dispose()
    {
        if (_ended)
        {
            return;
        }

        _ended = true;
        const int terminate = 15;
        var keepers = Keepers().ToArray();
        ProcessFigures.Signal(Pid, terminate);
        if (!_process.WaitForExit(10_000))
        {
            _process.Kill();
        }

        foreach (var keeper in keepers)
        {
            ProcessFigures.Signal(keeper, terminate);
        }

        _process.Dispose();
    }

    private IEnumerable<int> Processes() => Keepers().Append(Pid);

    // The keeper's socket lies beside the daemon's; nobody else has this name in its command line.
    private IEnumerable<int> Keepers() => ProcessFigures.WithArgument(_socket[..^5] + "-keeper.sock");
}

/// <summary>What a merge took.</summary>
/// <param name="Wall">Seconds, with the start of the command line.</param>
/// <param name="Engine">Seconds of the merge itself.</param>
/// <param name="DaemonCpu">CPU seconds of daemon and keeper.</param>
/// <param name="TargetCpu">CPU seconds spent in the targets meanwhile, whatever they did besides.</param>
/// <param name="Saved">Bytes saved, as the daemon counts.</param>
internal sealed record MergeFigures(double Wall, double Engine, double DaemonCpu, double TargetCpu, long Saved)
{
    /// <summary>All CPU seconds.</summary>
    public double Cpu => DaemonCpu + TargetCpu;
}
