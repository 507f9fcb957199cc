using Samepage.Linux.Tests.Support;
using Xunit;

namespace Samepage.Linux.Tests;

/// <summary>
/// The victims without Samepage: silent for as long as nothing is wrong, and loud when they damage their own memory. A
/// detector that fails one of the two proves nothing about merging.
/// </summary>
public sealed class VictimTests
{
    private static readonly TimeSpan RunTime = TimeSpan.FromSeconds(1);

    public static TheoryData<string> Modes => ["fill", "writers", "kernel", "readers", "dontneed", "churn"];

    public static TheoryData<string, string> Programs => new()
    {
        { "writers", "--threads 0" },
        { "writers", "--threads 32" },
        { "golike", "--threads 12" },
        { "rseq_counters", "--threads 4" },
        { "signals", "" },
        { "odirect", "--threads 2" },
        { "calloc_zero", "--threads 2" },
        { "vforks", "--threads 2" },
        { "forks", "--threads 3" },
        { "dontneed", "--threads 0" },
        { "dontneed", "--threads 3" },
        { "stopped", "" },
        { "siblings", "--threads 2" },
        { "dontneed", "--threads 2 --call fork" },
        { "blocked", "" },
    };

    [Theory]
    [MemberData(nameof(Modes))]
    public void ADotnetVictimThatNobodyTouchesSeesNoErrors(string mode)
    {
        using var victim = Victim.Start("--mode", mode, "--pages", "1024");
        ExpectNoErrors(victim);
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void ADotnetVictimFindsTheDamageItDoesItself(string mode)
    {
        using var victim = Victim.Start("--mode", mode, "--pages", "256", "--broken");
        ExpectErrors(victim);
    }

    [Theory]
    [MemberData(nameof(Programs))]
    public void ACVictimThatNobodyTouchesSeesNoErrors(string program, string arguments)
    {
        using var victim = CVictim.Start(program, Split(arguments));
        ExpectNoErrors(victim);
    }

    [Theory]
    [MemberData(nameof(Programs))]
    public void ACVictimFindsTheDamageItDoesItself(string program, string arguments)
    {
        using var victim = CVictim.Start(program, [.. Split(arguments), "--broken"]);
        ExpectErrors(victim);
    }

    [Fact]
    public void AStaticallyLinkedVictimSeesNoErrors()
    {
        using var victim = CVictim.Start("writers", ["--threads", "4"], isStatic: true);
        Assert.DoesNotContain("libc", File.ReadAllText($"/proc/{victim.Pid}/maps"), StringComparison.Ordinal);
        ExpectNoErrors(victim);
    }

    [Fact]
    public void AnAllocatorThatReliesOnMadviseDontneedIsPreloadedAndClean()
    {
        using var victim = CVictim.Start("calloc_zero", ["--threads", "2"], preload: Jemalloc.PathOrSkip());
        Assert.Contains("jemalloc", File.ReadAllText($"/proc/{victim.Pid}/maps"), StringComparison.Ordinal);
        ExpectNoErrors(victim);
    }

    [Fact]
    public void EveryBlockedCallReturnsInTheSecondItRuns()
    {
        using var victim = CVictim.Start("blocked", []);
        Thread.Sleep(RunTime);
        VictimReport report = victim.Report();
        Assert.True(report.Details.Count >= 39, report.ToString());
        foreach (string name in report.Details.Select(line => line.Split(' ')[1]))
        {
            Assert.True(report.Detail("call", name)["returns"] > 0, $"{name} never returned\n{report}");
        }
    }

    [Fact]
    public void AVictimThatIsKilledIsReported()
    {
        using var victim = CVictim.Start("writers", []);
        DetachedProcess.Kill(victim.Pid);
        DetachedProcess.WaitUntil(() => !victim.IsAlive, TimeSpan.FromSeconds(10), "still alive");
        Assert.Throws<InvalidOperationException>(() => victim.Report());
    }

    private static string[] Split(string arguments) => arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries);

    private static void ExpectNoErrors(Victim victim)
    {
        Assert.NotEmpty(victim.Regions);
        Thread.Sleep(RunTime);
        (VictimReport report, int exitCode) = victim.Quit();
        Assert.True(report.Operations > 0, report.ToString());
        Assert.True(report.Errors == 0, report.ToString());
        Assert.Equal(0, exitCode);
    }

    private static void ExpectErrors(Victim victim)
    {
        Thread.Sleep(RunTime);
        (VictimReport report, int exitCode) = victim.Quit();
        Assert.True(report.Errors > 0, report.ToString());
        Assert.Equal(1, exitCode);
    }
}
