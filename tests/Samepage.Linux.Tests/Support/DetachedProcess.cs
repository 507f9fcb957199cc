using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Samepage.Linux.Tests.Support;

/// <summary>
/// A program started so that it is no child of the test process: a tracer that is also the parent gets its wait
/// results mixed up with those of <see cref="Process"/>, and a real target is nobody's child either. A shell of its own
/// session starts it, with a fifo as input and files as output, and stays only to write down the exit code.
/// </summary>
internal sealed class DetachedProcess : IDisposable
{
    // $1 = directory; the rest is the command. The fifo is opened for reading too, so that it never ends.
    private const string Script = """
        dir=$1; shift; cd "$dir" || exit 1
        ( "$@" <>in >out 2>err & echo $! >pid.new; mv pid.new pid; wait $!; echo $? >code.new; mv code.new code ) \
            </dev/null >/dev/null 2>&1 &
        """;

    private readonly StringBuilder partialLine = new();
    private readonly Queue<string> lines = new();
    private readonly FileStream output;
    private readonly ulong startTime;

    private DetachedProcess(string directory, int pid)
    {
        Directory = directory;
        Pid = pid;
        output = new FileStream(Path.Combine(directory, "out"), FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        startTime = StartTimeOf(pid);
    }

    /// <summary>Its working directory, gone after <see cref="Dispose"/>.</summary>
    public string Directory { get; }

    public int Pid { get; }

    /// <summary>False also for a zombie that nobody has collected yet.</summary>
    public bool IsAlive => startTime != 0 && StartTimeOf(Pid) == startTime;

    public string Errors => File.ReadAllText(Path.Combine(Directory, "err"));

    public static DetachedProcess Start(
        string file, IEnumerable<string> arguments, IEnumerable<(string Name, string Value)>? environment = null)
    {
        string directory = System.IO.Directory.CreateTempSubdirectory("samepage-test-").FullName;
        // Made here, so that both exist before anybody opens them.
        File.WriteAllText(Path.Combine(directory, "out"), string.Empty);
        Run("mkfifo", ["-m", "600", Path.Combine(directory, "in")]);
        var assignments = (environment ?? []).Select(pair => $"{pair.Name}={pair.Value}");
        Run("setsid", ["sh", "-c", Script, "sh", directory, "env", .. assignments, file, .. arguments]);
        string pidFile = Path.Combine(directory, "pid");
        WaitUntil(() => File.Exists(pidFile), TimeSpan.FromSeconds(10), $"{file} was not started");
        int pid = int.Parse(File.ReadAllText(pidFile), CultureInfo.InvariantCulture);
        // The pid is at first that of the shell's child, then of `env`, which becomes the program by exec. What is written into
        // the fifo before the child has opened it, just before its exec, is lost.
        WaitUntil(() => IsExecuted(pid), TimeSpan.FromSeconds(10), $"{file} was not executed");
        return new DetachedProcess(directory, pid);
    }

    private static bool IsExecuted(int pid)
    {
        try
        {
            return new FileInfo($"/proc/{pid}/exe").LinkTarget is not { Length: > 0 } program
                || (!program.EndsWith("/env", StringComparison.Ordinal)
                    && !File.ReadAllText($"/proc/{pid}/cmdline").Contains("dir=$1; shift", StringComparison.Ordinal));
        }
        catch (IOException)
        {
            return true; // it has ended already
        }
    }

    /// <summary>Runs a program to its end and returns what it printed.</summary>
    /// <exception cref="InvalidOperationException">It failed; the message has what it complained about.</exception>
    public static string Run(string file, IEnumerable<string> arguments, TimeSpan? timeout = null)
    {
        using var process = Process.Start(
            new ProcessStartInfo(file, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        Task<string> printed = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(timeout ?? TimeSpan.FromMinutes(2)))
        {
            process.Kill();
            throw new InvalidOperationException($"{file} did not end in time");
        }

        return process.ExitCode == 0
            ? printed.Result
            : throw new InvalidOperationException(
                $"{file} failed ({process.ExitCode}): {errors.Result}{printed.Result}");
    }

    public void Send(string line)
    {
        // Open for both directions: opening a fifo only for writing would wait for ever once its reader is gone.
        using var input = new FileStream(
            Path.Combine(Directory, "in"), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        input.Write(Encoding.UTF8.GetBytes(line + "\n"));
    }

    /// <summary>Next line of output that starts with <paramref name="prefix"/>; lines before it are handed to
    /// <paramref name="skipped"/>.</summary>
    public string ReadLine(string prefix, TimeSpan timeout, Action<string>? skipped = null)
    {
        long end = Stopwatch.GetTimestamp() + (long)(timeout.TotalSeconds * Stopwatch.Frequency);
        for (bool wasAlive = true; ;)
        {
            Fetch();
            while (lines.TryDequeue(out string? line))
            {
                if (line.StartsWith(prefix, StringComparison.Ordinal))
                {
                    return line;
                }

                skipped?.Invoke(line);
            }

            // One more look after its end: the last lines may have come just before it.
            if (!wasAlive)
            {
                throw new InvalidOperationException($"process {Pid} ended before it said '{prefix}': {Errors}");
            }

            if (Stopwatch.GetTimestamp() > end)
            {
                throw new TimeoutException(
                    $"process {Pid} did not say '{prefix}' within {timeout.TotalSeconds} s: {Errors}");
            }

            wasAlive = IsAlive;
            Thread.Sleep(5);
        }
    }

    /// <summary>Exit code as the shell gives it: 128 + number for a signal.</summary>
    public int WaitForExit(TimeSpan timeout)
    {
        string path = Path.Combine(Directory, "code");
        WaitUntil(() => File.Exists(path), timeout, $"process {Pid} did not end within {timeout.TotalSeconds} s");
        return int.Parse(File.ReadAllText(path), CultureInfo.InvariantCulture);
    }

    /// <summary>Sends SIGKILL to a process that may just be ending by itself.</summary>
    public static void Kill(int pid)
    {
        ulong startTime = StartTimeOf(pid);
        try
        {
            if (startTime != 0)
            {
                Run("kill", ["-KILL", pid.ToString(CultureInfo.InvariantCulture)]);
            }
        }
        catch (InvalidOperationException) when (StartTimeOf(pid) != startTime)
        {
            // It was reaped between the look and the signal.
        }
    }

    public void Dispose()
    {
        output.Dispose();
        if (IsAlive)
        {
            Kill(Pid);
        }

        // Also when it has just ended by itself: the shell may be about to write its exit code.
        WaitForExit(TimeSpan.FromSeconds(20));

        System.IO.Directory.Delete(Directory, recursive: true);
    }

    internal static void WaitUntil(Func<bool> condition, TimeSpan timeout, string otherwise)
    {
        var watch = Stopwatch.StartNew();
        while (!condition())
        {
            if (watch.Elapsed > timeout)
            {
                throw new TimeoutException(otherwise);
            }

            Thread.Sleep(2);
        }
    }

    /// <summary>Start time in clock ticks, which tells two users of one pid apart; 0 when there is no process.</summary>
    internal static ulong StartTimeOf(int pid)
    {
        try
        {
            string text = File.ReadAllText($"/proc/{pid}/stat");
            // The name is in parentheses and may hold anything, also spaces and parentheses.
            string[] fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? 0 : ulong.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private void Fetch()
    {
        Span<byte> buffer = stackalloc byte[4096];
        for (int got; (got = output.Read(buffer)) > 0;)
        {
            foreach (char character in Encoding.UTF8.GetString(buffer[..got]))
            {
                if (character != '\n')
                {
                    partialLine.Append(character);
                    continue;
                }

                lines.Enqueue(partialLine.ToString());
                partialLine.Clear();
            }
        }
    }
}
