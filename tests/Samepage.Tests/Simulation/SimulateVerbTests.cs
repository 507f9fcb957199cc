using System.Text.Json;
using Samepage.Simulation;
using Xunit;

namespace Samepage.Tests;

public class SimulateVerbTests
{
    [Fact]
    public void ARunSaysWhatItDid()
    {
        JsonElement run = CliResult.Of("simulate", "--seed", "5", "--ticks", "60", "--runs", "2", "--json").Good().Json;
        Assert.True(run.GetProperty("passed").GetBoolean());
        Assert.Equal(2, run.GetProperty("runs").GetInt32());
        Assert.Equal(120, run.GetProperty("ticks").GetInt64());
        Assert.True(run.GetProperty("pages_merged").GetInt64() > 0);
        Assert.Equal(JsonValueKind.Null, run.GetProperty("failure").ValueKind);
        Assert.Contains(
            "nothing found", CliResult.Of("simulate", "--ticks", "20").Good().Out, StringComparison.Ordinal);
    }

    [Fact]
    public void AFindIsOneLineWithSeedCommitAndCommandAndExitCodeOne()
    {
        CliResult find = CliResult.Of("simulate", "--seed", "3", "--ticks", "500", "--mutant", "nocompare");
        Assert.Equal(1, find.Code);
        Assert.StartsWith("samepage: seed 3, tick ", find.Error, StringComparison.Ordinal);
        Assert.EndsWith(
            "again: samepage simulate --seed 3 --ticks 500 --mutant NoCompare\n", find.Error, StringComparison.Ordinal);
        Assert.Single(find.Error.TrimEnd().Split('\n'));
        JsonElement failure = CliResult.Of(
            "simulate", "--seed", "3", "--ticks", "500", "--mutant", "NoCompare", "--json").Json.GetProperty("failure");
        Assert.Equal(3, failure.GetProperty("seed").GetInt32());
        Assert.Equal("contents", failure.GetProperty("check").GetString());
    }

    [Fact]
    public void TheTableOfExitsHasARowForEachWay()
    {
        string table = CliResult.Of("simulate", "--exits").Good().Out;
        foreach (ExitRow row in ExitTable.Measure(1))
        {
            Assert.Contains(row.Way, table, StringComparison.Ordinal);
        }

        JsonElement rows = CliResult.Of("simulate", "--exits", "--json").Good().Json.GetProperty("exits_per_page");
        Assert.Equal(0, rows[0].GetProperty("read_after_merge").GetDouble());
        Assert.Equal(1, rows[3].GetProperty("read_after_merge").GetDouble());
    }
}
