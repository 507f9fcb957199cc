using System.Diagnostics;
using System.Globalization;
using System.Runtime.Versioning;
using Samepage.Linux.Keeper;
using Xunit;

[assembly: SupportedOSPlatform("linux")]

namespace Samepage.Linux.Tests.Keeper;

/// <summary>Tests that start processes run one after another: they measure waiting times on a few CPUs.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class KeeperTestsOneByOne
{
    public const string Name = "keeper";
}

/// <summary>A directory with a socket, and everything that was started for it; takes all of it away again.</summary>
internal sealed class KeeperFixture : IDisposable
{
    /// <summary>Where the daemons of a test write down their process ids.</summary>
    internal const string DaemonsFile = "daemons";

    private readonly List<Process> _processes = [];
    private readonly string _directory = Directory.CreateTempSubdirectory("samepage-keeper-").FullName;

    internal KeeperFixture(params string[] keeperOptions)
    {
        SocketPath = Path.Combine(_directory, "keeper.sock");
        LogPath = Path.Combine(_directory, "keeper.log");
        Start = new KeeperStartInfo(
            [HostPath, "--socket", SocketPath, "--log", LogPath, "--idle-seconds", "60", .. keeperOptions],
            SocketPath, LogPath);
    }

    internal static string HostPath => Path.Combine(AppContext.BaseDirectory, "samepage-keeper-host");

    internal string SocketPath { get; }

    internal string LogPath { get; }

    internal KeeperStartInfo Start { get; }

    internal string Log => File.Exists(LogPath) ? File.ReadAllText(LogPath) : "";

    internal string PathOf(string name) => Path.Combine(_directory, name);

    internal KeeperClient Connect() => KeeperClient.EnsureRunning(Start);

    internal Process Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        Process process = Process.Start(start)!;
        _processes.Add(process);
        return process;
    }

    internal Victim StartVictim(int threads, int pages, double seconds, string flags)
    {
        string[] arguments =
        [
            threads.ToString(CultureInfo.InvariantCulture), pages.ToString(CultureInfo.InvariantCulture),
            seconds.ToString(CultureInfo.InvariantCulture), flags,
        ];
        return new Victim(Run(Victim.Program, arguments));
    }

    internal static void Kill(int pid)
    {
        using Process process = Process.GetProcessById(pid);
        process.Kill();
    }

    /// <summary>Exited, whether or not its parent has noticed.</summary>
    internal static bool HasExited(int pid)
    {
        try
        {
            string text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat"));
            return text[text.LastIndexOf(')') + 2] is 'Z' or 'X';
        }
        catch (IOException)
        {
            return true;
        }
    }

    internal IReadOnlyList<int> Holders => DescriptorHolder.Find(DescriptorHolder.NameFor(SocketPath), 0);

    public void Dispose()
    {
        foreach (Process process in _processes)
        {
            process.Kill(entireProcessTree: true);
            process.Dispose();
        }

        if (KeeperSocket.IsServed(SocketPath, out int keeper))
        {
            Kill(keeper);
        }

        foreach (int holder in Holders)
        {
            DescriptorHolder.Kill(holder);
        }

        if (File.Exists(PathOf(DaemonsFile)))
        {
            foreach (string daemon in File.ReadAllLines(PathOf(DaemonsFile)))
            {
                DescriptorHolder.Kill(int.Parse(daemon, CultureInfo.InvariantCulture));
            }
        }

        Directory.Delete(_directory, recursive: true);
    }
}

/// <summary>A running dropper (Victims/dropper.c).</summary>
internal sealed class Victim
{
    private static readonly Lazy<string> s_program = new(Compile);

    internal Victim(Process process)
    {
        Process = process;
        string? line = process.StandardOutput.ReadLine();
        Assert.SkipWhen(line is null, "this kernel or user may not make what the victim needs (see its stderr)");
        string[] words = line.Split(' ');
        Assert.Equal("ready", words[0]);
        Pid = int.Parse(words[1], CultureInfo.InvariantCulture);
        Fd = int.Parse(words[2], CultureInfo.InvariantCulture);
        StartTime = KeeperFiles.StartTimeOf(Pid);
    }

    internal static string Program => s_program.Value;

    internal Process Process { get; }

    internal int Pid { get; }

    internal int Fd { get; }

    internal ulong StartTime { get; }

    internal void Begin()
    {
        Process.StandardInput.WriteLine();
        Process.StandardInput.Flush();
    }

    /// <summary>Ends the work before its time.</summary>
    internal void End() => Begin();

    /// <summary>Waits for the end and returns the counters it printed.</summary>
    internal Dictionary<string, long> Finish(TimeSpan limit)
    {
        Task<string?> line = Process.StandardOutput.ReadLineAsync();
        Assert.True(line.Wait(limit),
            "the victim did not finish in time: somebody waits for an answer that does not come");
        Assert.StartsWith("done ", line.Result, StringComparison.Ordinal);
        Assert.True(Process.WaitForExit(limit));
        return line.Result!.Split(' ').Skip(1).Select(word => word.Split('=')).ToDictionary(
            pair => pair[0], pair => long.Parse(pair[1], CultureInfo.InvariantCulture), StringComparer.Ordinal);
    }

    private static string Compile()
    {
        string source = Path.Combine(AppContext.BaseDirectory, "Victims", "dropper.c");
        string program = Path.Combine(AppContext.BaseDirectory, "Victims", "dropper");
        try
        {
            using Process compiler = Process.Start("gcc", ["-O1", "-Wall", "-pthread", "-o", program, source]);
            compiler.WaitForExit();
            Assert.Equal(0, compiler.ExitCode);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("no gcc: install it to run the tests that need a process with memory of its own making");
        }

        return program;
    }
}

/// <summary>What these tests cannot do without.</summary>
internal static class Require
{
    internal static void Root() =>
        Assert.SkipWhen(Environment.UserName != "root", "needs root: userfaultfd and a private tmpfs");
}
