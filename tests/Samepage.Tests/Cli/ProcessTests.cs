using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Xunit;

namespace Samepage.Tests;

/// <summary>The real executable, against a daemon in this process.</summary>
public sealed class ProcessTests
{
    private static string Program => Path.Combine(AppContext.BaseDirectory, "Samepage.Cli");

    [Fact]
    public async Task StatusOfTheExecutableIsTheSameDocument()
    {
        var (daemon, _, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        daemon.Cli("merge").Good();
        CliResult result = await Run("status", "--socket", daemon.Socket, "--json");
        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Equal(64, result.Json.GetProperty("pages_sharing").GetInt64());
        result = await Run("status", "--socket", daemon.Socket);
        Assert.Contains("64 pages sharing, 16 zero pages", result.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MergeOfTheExecutableGivesTheSameResultAndRefusalsAsTheCommandLine()
    {
        var (daemon, first, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        CliResult result = await Run("merge", "--json", "--socket", daemon.Socket);
        Assert.Equal((0, ""), (result.Code, result.Error));
        Assert.Equal(128, result.Json.GetProperty("pages_merged").GetInt64());
        Assert.EndsWith("\n", result.Out, StringComparison.Ordinal);
        string[] known = [.. daemon.Cli("merge", "--json").Good().Json.EnumerateObject().Select(each => each.Name)];
        Assert.Equal(known, result.Json.EnumerateObject().Select(each => each.Name));
        result = await Run("merge", "--json", $"{first.Pid}", "--socket", daemon.Socket);
        Assert.Equal(0, result.Json.GetProperty("pages_merged").GetInt64());
        result = await Run("merge", "--json", "4711", "--socket", daemon.Socket);
        result.Bad(5, "process 4711 is not attached");
    }

    [Fact]
    public async Task ACommandRunWithAllHasItsOwnPidOutputAndExitCodeAndIsAttached()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using Process run = Start("run", "--socket", daemon.Socket, "--all", "sh", "-c", "echo $$; read go; exit 7");
        string? pid = await run.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken);
        Assert.Equal(run.Id.ToString(CultureInfo.InvariantCulture), pid);
        await DaemonLifeTests.Until(() => daemon.Targets.Attached.Contains(run.Id));
        JsonElement target = daemon.Cli("list", "--json").Good().Json.GetProperty("targets")[0];
        Assert.True(target.GetProperty("follow_children").GetBoolean());
        await run.StandardInput.WriteLineAsync("go");
        await run.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(7, run.ExitCode);
    }

    [Fact]
    public async Task ACommandFindsSignalsAndLimitsAsTheyWere()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using Process run = StartShell(
            "ulimit -Sn 777; SAMEPAGE_SOFT_NOFILE=$(ulimit -Sn); export SAMEPAGE_SOFT_NOFILE; " // as the wrapper does
            + "exec \"$0\" run --socket \"$1\" --all -- sh -c "
            + "'ulimit -Sn; grep SigIgn /proc/self/status; ls /proc/self/fd | wc -l; echo \"$SAMEPAGE_SOFT_NOFILE\"'",
            daemon.Socket);
        string[] lines = (await run.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Split('\n');
        await run.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal("777", lines[0]);
        const long brokenPipe = 1L << 12;
        Assert.Equal(0, Convert.ToInt64(lines[1].Split('\t')[1], 16) & brokenPipe);
        Assert.Equal(await DescriptorsOfAPlainChild(), lines[2]); // nothing of ours has come along
        Assert.Equal("", lines[3]);
        Assert.Equal(0, run.ExitCode);
    }

    [Fact]
    public async Task ArgumentsAndEnvironmentReachTheCommandAsBytes()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using Process run = StartShell(
            "A=$(printf '\\377'); export A; exec \"$0\" run --socket \"$1\" --all -- "
            + "sh -c 'printf %s \"$1$A\" | od -An -tx1' x \"$(printf 'a\\376b')\"",
            daemon.Socket);
        string output = await run.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        Assert.Equal("61 fe 62 ff", output.Trim());
    }

    [Fact]
    public async Task ACommandThatDoesNotExistIsExitCodeFiveAndNothingIsAttached()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        (await Run("run", "--socket", daemon.Socket, "--all", "--", "/no/such/program")).Bad(5, "there is no program");
        Assert.Empty(daemon.Targets.Attached);
    }

    private static async Task<string> DescriptorsOfAPlainChild()
    {
        using Process plain = StartShell("exec sh -c 'ls /proc/self/fd | wc -l'", "");
        return (await plain.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Trim();
    }

    private static async Task<CliResult> Run(params string[] args)
    {
        using Process process = Start(args);
        Task<string> error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return new CliResult(process.ExitCode, output, await error);
    }

    private static Process Start(params string[] args) => Start(Program, args);

    // The script gets the program as $0 and the socket as $1.
    private static Process StartShell(string script, string socket) =>
        Start("/bin/sh", ["-c", script, Program, socket]);

    private static Process Start(string program, string[] args) => Process.Start(new ProcessStartInfo(program, args)
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;
}
