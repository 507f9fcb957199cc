using System.Globalization;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>One daemon for all of <see cref="BadInputTests"/>, started with the first.</summary>
public sealed class SharedDaemon : IDisposable
{
    private LiveDaemon? _daemon;

    internal LiveDaemon Get()
    {
        if (_daemon is null)
        {
            var daemon = new LiveDaemon();
            daemon.Start();
            daemon.Await(0, 0, TimeSpan.FromSeconds(60));
            _daemon = daemon;
        }

        return _daemon;
    }

    public void Dispose() => _daemon?.Dispose();
}

/// <summary>
/// Bad input, given to the real executable about real processes: one line that says what is wrong, the right exit code,
/// nothing changed.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class BadInputTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private const int Usage = 2, NotPermitted = 4, NotFound = 5, Failed = 1;
    private const int Nobody = 65534;
    private readonly LiveDaemon _daemon = shared.Get();

    [Theory]
    [InlineData("set nosuchknob=1", "nosuchknob")]
    [InlineData("set pages_to_scan=-1", "pages_to_scan")]
    [InlineData("set pages_to_scan=many", "pages_to_scan")]
    [InlineData("set advisor_max_cpu=100000", "advisor_max_cpu")]
    [InlineData("set run=7", "run")]
    [InlineData("get nosuchknob", "nosuchknob")]
    [InlineData("attach notapid", "notapid")]
    [InlineData("attach -5", "-5")]
    [InlineData("nosuchverb", "nosuchverb")]
    public void Words_that_mean_nothing(string arguments, string named)
    {
        string[] words = arguments.Split(' ');
        CliResult before = _daemon.Cli("get");
        // An unknown verb knows no --socket either.
        CliResult result = words[0] == "nosuchverb" ? _daemon.Run(LiveDaemon.Program, words) : _daemon.Cli(words);
        Refused(result, Usage, named);
        Assert.Equal(before.Out, _daemon.Cli("get").Out);
    }

    [Fact]
    public void Processes_that_are_none()
    {
        Refused(_daemon.Cli("attach", "4194301"), NotFound, "4194301");
        using DetachedProcess parent = DetachedProcess.Start("sh", ["-c", "true & exec sleep 100"]);
        int zombie = Await(() => ChildOf(parent.Pid, "Z"));
        Refused(_daemon.Cli("attach", Text(zombie)), NotFound, "zombie");
        string? kernelThread = Directory.EnumerateDirectories("/proc").Select(path => Path.GetFileName(path)!)
            .FirstOrDefault(name => name.All(char.IsAsciiDigit) && StatusOf(name).Contains("Kthread:\t1", StringComparison.Ordinal));
        if (kernelThread is not null)
        {
            Refused(_daemon.Cli("attach", kernelThread), Failed, "kernel thread");
        }

        using LivePuppet puppet = LivePuppet.Start();
        Refused(_daemon.Cli("merge", Text(puppet.Pid)), NotFound, Text(puppet.Pid));
        Refused(_daemon.Cli("detach", Text(puppet.Pid)), NotFound, Text(puppet.Pid));
    }

    [Fact]
    public void A_32_bit_program()
    {
        string program;
        try
        {
            program = CCompiler.Build(
                "narrow", "void _start(void) { for (;;) __asm__ volatile(\"int $0x80\" :: \"a\"(29)); }",
                "-m32", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-ffreestanding");
        }
        catch (Xunit.Sdk.TrueException problem)
        {
            Assert.Skip($"gcc cannot build 32-bit programs here (Debian package gcc-multilib): {problem.Message.Split('\n')[0]}");
            throw;
        }

        using DetachedProcess process = DetachedProcess.Start(program, []);
        string maps = File.ReadAllText($"/proc/{process.Pid}/maps");
        Refused(_daemon.Cli("attach", Text(process.Pid)), Failed, "32-bit");
        Assert.Equal(maps, File.ReadAllText($"/proc/{process.Pid}/maps"));
    }

    [Fact]
    public void Ranges_that_are_none()
    {
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(16);
        puppet.Expect($"unmap {address + 8 * PageSize.Bytes:x} 8");
        string maps = File.ReadAllText($"/proc/{puppet.Pid}/maps");
        ProcessTrace before = ProcessTrace.Of(puppet.Pid);
        Refused(Attach(puppet.Pid, "10000", "20000"), NotFound, "10000");
        Refused(Attach(puppet.Pid, Hex(address), Hex(address + 16 * PageSize.Bytes)), NotFound, Hex(address + 8 * PageSize.Bytes));
        Refused(Attach(puppet.Pid, Hex(address + PageSize.Bytes), Hex(address)), Usage, "end must be above its start");
        Refused(Attach(puppet.Pid, Hex(address), Hex(address + 1)), Usage, "multiples of 4096");
        Refused(Attach(puppet.Pid, "0", "ffffffffffffffff"), Usage, "ffffffffffffffff");
        Assert.Equal(maps, File.ReadAllText($"/proc/{puppet.Pid}/maps"));
        before.AssertNothingLeft(null);
        Assert.DoesNotContain($"\"pid\":{puppet.Pid}", _daemon.Cli("list", "--json").Out, StringComparison.Ordinal);
    }

    [Fact]
    public void A_process_that_locks_its_future_mappings()
    {
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(16);
        puppet.Expect("lockall");
        ProcessTrace before = ProcessTrace.Of(puppet.Pid);
        Refused(Attach(puppet.Pid, Hex(address), Hex(address + 16 * PageSize.Bytes)), Failed, "mlockall");
        before.AssertNothingLeft(null);
        Assert.DoesNotContain($"\"pid\":{puppet.Pid}", _daemon.Cli("list", "--json").Out, StringComparison.Ordinal);
    }

    [Fact]
    public void A_process_of_another_daemon()
    {
        using var harness = new LiveHarness();
        using LivePuppet puppet = LivePuppet.Start();
        ulong address = puppet.MapFilled(16);
        RegisteredTarget target = harness.Attach(puppet.Pid);
        Refused(
            Attach(puppet.Pid, Hex(address), Hex(address + 16 * PageSize.Bytes)), Failed,
            $"another daemon, process {Environment.ProcessId}");
        harness.Detach(target);
        Assert.Equal(0, Attach(puppet.Pid, Hex(address), Hex(address + 16 * PageSize.Bytes)).Code);
        Assert.Equal(0, _daemon.Cli("detach", Text(puppet.Pid)).Code);
    }

    [Fact]
    public void What_another_daemon_has_left_behind_is_not_taken_over_unasked()
    {
        using var harness = new LiveHarness(options => options with { Home = "/run/one.sock" });
        using LivePuppet puppet = LivePuppet.Start();
        _ = puppet.MapFilled(16);
        RegisteredTarget target = harness.Attach(puppet.Pid);
        using LiveMachine successor = LiveMachine.Open(harness.Machine.Options);
        using LiveMachine other = LiveMachine.Open(harness.Machine.Options with { Home = "/run/other.sock" });
        Assert.Contains(successor.FindLeftBehind(), left => left.Pid == puppet.Pid);
        Assert.DoesNotContain(other.FindLeftBehind(), left => left.Pid == puppet.Pid);
        harness.Detach(target);
    }

    [Fact]
    public void Somebody_else_without_rights()
    {
        Assert.SkipUnless(TestPaths.Which("setpriv") is not null, "setpriv is missing (Debian package util-linux)");
        string[] asNobody = [$"--reuid={Nobody}", $"--regid={Nobody}", "--clear-groups", LiveDaemon.Program];
        CliResult help = _daemon.Run("setpriv", [.. asNobody, "--help"]);
        Assert.SkipUnless(help.Code == 0, "the build lies where other users cannot read it");
        using LivePuppet puppet = LivePuppet.Start();
        puppet.MapFilled(16); // it has started when it answers
        string maps = File.ReadAllText($"/proc/{puppet.Pid}/maps");
        // With the daemon of root: its socket is closed to others. With one of their own: it cannot do anything.
        CliResult byRoots = _daemon.Run("setpriv", [.. asNobody, "attach", "--socket", _daemon.Socket, Text(puppet.Pid)]);
        Refused(byRoots, NotPermitted, "");
        string own = Directory.CreateTempSubdirectory("samepage-nobody-").FullName;
        try
        {
            DetachedProcess.Run("chown", [Text(Nobody), own]);
            CliResult byTheirs = _daemon.Run(
                "setpriv", [.. asNobody, "attach", "--socket", Path.Combine(own, "d.sock"), Text(puppet.Pid)]);
            Refused(byTheirs, NotPermitted, "root");
        }
        finally
        {
            Directory.Delete(own, recursive: true);
        }

        Assert.Equal(maps, File.ReadAllText($"/proc/{puppet.Pid}/maps"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_process_that_ends_or_becomes_another_program_while_it_is_merged(bool execs)
    {
        using var harness = new LiveHarness();
        var random = new Random(execs ? 1 : 2);
        using var bystander = CVictim.Start("writers", ["--threads", "1"]);
        harness.Attach(bystander);
        for (int round = 0; round < 8; round++)
        {
            using LivePuppet puppet = LivePuppet.Start();
            ulong address = puppet.MapFilled(4096);
            RegisteredTarget target = harness.Attach(puppet.Pid, [Puppet.Pages(address, 4096)]);
            double delay = random.NextDouble() * 30;
            var end = new Thread(() =>
            {
                Thread.Sleep(TimeSpan.FromMilliseconds(delay));
                if (execs)
                {
                    puppet.Tell("exec");
                }
                else
                {
                    DetachedProcess.Kill(puppet.Pid);
                }
            });
            end.Start();
            var watch = System.Diagnostics.Stopwatch.StartNew();
            harness.MergeAndUnmergeUntil(() => !target.Target.IsAlive || watch.Elapsed > TimeSpan.FromSeconds(20));
            end.Join();
            Assert.False(target.Target.IsAlive);
            harness.Engine.Unregister(target);
            harness.Machine.Forget((LiveTarget)target.Target);
            if (execs)
            {
                Assert.Contains("sleep", File.ReadAllText($"/proc/{puppet.Pid}/comm"), StringComparison.Ordinal);
                ProcessTrace.Of(puppet.Pid).AssertNothingLeft(null);
            }
        }

        harness.DetachAll();
        Assert.Equal(0, bystander.Quit().Report.Errors);
    }

    private CliResult Attach(int pid, string start, string end) =>
        _daemon.Cli("attach", Text(pid), "--range", $"{start}-{end}");

    private static void Refused(CliResult result, int code, string named)
    {
        Assert.True(result.Code == code, $"exit code {result.Code} instead of {code}: {result.Error}");
        Assert.Equal("", result.Out);
        Assert.StartsWith("samepage: ", result.Error, StringComparison.Ordinal);
        Assert.Equal(result.Error.Length - 1, result.Error.IndexOf('\n', StringComparison.Ordinal));
        Assert.Contains(named, result.Error, StringComparison.Ordinal);
    }

    private static int? ChildOf(int parent, string state) => Directory.EnumerateDirectories("/proc")
        .Select(path => Path.GetFileName(path)!).Where(name => name.All(char.IsAsciiDigit))
        .Where(name => StatusOf(name) is var status
            && status.Contains($"\nPPid:\t{parent}\n", StringComparison.Ordinal)
            && status.Contains($"\nState:\t{state}", StringComparison.Ordinal))
        .Select(name => (int?)int.Parse(name, CultureInfo.InvariantCulture)).FirstOrDefault();

    private static int Await(Func<int?> find)
    {
        int? found = null;
        DetachedProcess.WaitUntil(() => (found = find()) is not null, TimeSpan.FromSeconds(20), "it did not come");
        return found!.Value;
    }

    private static string StatusOf(string pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/status");
        }
        catch (IOException)
        {
            return "";
        }
    }

    private static string Hex(ulong address) => address.ToString("x", CultureInfo.InvariantCulture);

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
