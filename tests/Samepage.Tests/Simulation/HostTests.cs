using System.Text.Json;
using System.Xml.Linq;
using Samepage.Simulation.Hosts;
using Xunit;

namespace Samepage.Tests;

/// <summary>Synthetic hosts: the file, the sample, the cost model.</summary>
public sealed class HostTests
{
    private const string Small = "host duration=5m\nguests g count=4 memory=8MiB\npages a share=50% content=image:i\n";

    [Theory]
    [InlineData("", 1, 1, "no guests")]
    [InlineData("guests", 1, 1, "name")]
    [InlineData("hots memory=1GiB", 1, 1, "no statement")]
    [InlineData("host memory=1GiB\nhost memory=1GiB", 2, 1, "already")]
    [InlineData("host memory=lots", 1, 13, "no size")]
    [InlineData("host duration=5", 1, 15, "no time")]
    [InlineData("host colour=red", 1, 6, "no setting")]
    [InlineData("guests g memory=1GiB", 1, 1, "count=")]
    [InlineData("guests g count=0 memory=1GiB", 1, 16, "count")]
    [InlineData("guests g count=1 memory=1GiB", 1, 1, "no pages")]
    [InlineData("pages a share=5% content=zero", 1, 1, "guests")]
    [InlineData(Small + "pages a share=5% content=zero", 4, 7, "already")]
    [InlineData(Small + "pages b share=60% content=zero", 4, 1, "more than its memory")]
    [InlineData(Small + "pages b share=5% content=wool", 4, 26, "no content")]
    [InlineData(Small + "pages b share=5% content=pool:i/1GiB", 4, 26, "something else")]
    [InlineData(Small + "pages b share=-5% content=zero", 4, 15, "no share")]
    [InlineData(Small + "pages b  share=5%  content=zero life=never", 4, 38, "no time")]
    public void AMalformedFileSaysWhereAndWhy(string text, int line, int column, string problem)
    {
        HostFileException error = Assert.Throws<HostFileException>(() => HostFile.Parse(text));
        Assert.Equal((line, column), (error.Line, error.Column));
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
        Assert.StartsWith($"line {line}, column {column}: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EqualImagesAreFoundAndCountedExactlyWhenAllPagesAreSimulated()
    {
        HostResult result = Run(HostFile.Parse(Small), new HostOptions());
        // 4 guests x 1,024 equal pages: one copy of each stays.
        Assert.Equal(3 * 1024 * 4096.0, result.PossibleBytes);
        Assert.All(result.Mergers, one => Assert.Equal(0, one.ErrorBytes));
        Assert.Equal(result.PossibleBytes, Ours(result).SavedBytes);
        Assert.Equal(Ours(result), Ours(Run(HostFile.Parse(Small), new HostOptions())), SameFigures);
    }

    [Fact]
    public void ASampleComesNearTheWholeWithinTheErrorItStates()
    {
        const string text = """
            host duration=1h
            guests g count=40 memory=16MiB life=30m
            pages system share=20% content=image:i
            pages files  share=40% content=pool:p/24MiB life=1h
            pages zeros  share=10% content=zero life=1h
            pages own    share=20% content=unique life=10m
            """;
        MergerResult whole = Ours(Run(HostFile.Parse(text), new HostOptions()));
        int outside = 0;
        for (ulong seed = 1; seed <= 5; seed++)
        {
            MergerResult sampled = Ours(Run(HostFile.Parse(text), new HostOptions { Sample = 20_000, Seed = seed }));
            Assert.True(sampled.ErrorBytes > 0);
            Assert.InRange(sampled.SavedBytes, whole.SavedBytes * 0.85, whole.SavedBytes * 1.15);
            outside += Math.Abs(sampled.SavedBytes - whole.SavedBytes) > 2 * sampled.ErrorBytes ? 1 : 0;
        }

        Assert.InRange(outside, 0, 1);
    }

    /// <summary>The three guests of examples/guests as benchmark (d) ran them. What they share is counted, not fitted.</summary>
    [Fact]
    public void TheCostModelComesWithin20PercentOfTheLiveRunOfThreeGuests()
    {
        using var results = JsonDocument.Parse(CostModel.Open());
        // The live figure is of one merge of everything; a minute more of background scanning would come on top.
        HostDescription host = HostFile.Parse(File.ReadAllText(Path.Combine(Root(), "examples/hosts/three-guests.host")));
        HostResult simulated = Run(host with { Duration = TimeSpan.FromSeconds(2) }, new HostOptions());
        double saved = BenchResults.Figure(results, "d guests", "saving as the daemon counts", "samepage", "MB") * 1e6;
        Assert.InRange(Ours(simulated).SavedBytes, saved * 0.8, saved * 1.2);
        double cpu = BenchResults.Figure(results, "d guests", "CPU", "samepage", "CPU s");
        Assert.InRange(Ours(simulated).CpuSeconds, cpu * 0.8, cpu * 1.2);
    }

    [Fact]
    public void TheVerbPrintsATableJsonAndADrawing()
    {
        string folder = Directory.CreateTempSubdirectory("samepage-host-").FullName;
        try
        {
            string file = Path.Combine(folder, "a.host"), svg = Path.Combine(folder, "a.svg");
            File.WriteAllText(file, Small);
            Assert.Contains("ksmd, defaults", CliResult.Of("simulate", "--host", file).Good().Out, StringComparison.Ordinal);
            JsonElement json = CliResult.Of("simulate", "--host", file, "--svg", svg, "--json").Good().Json;
            Assert.Equal(4, json.GetProperty("mergers").GetArrayLength());
            Assert.Equal("svg", XDocument.Load(svg).Root!.Name.LocalName);
            File.WriteAllText(file, "guests g count=none memory=1GiB");
            CliResult wrong = CliResult.Of("simulate", "--host", file);
            Assert.Equal(2, wrong.Code);
            Assert.Contains("line 1, column 16", wrong.Error, StringComparison.Ordinal);
            Assert.Equal(2, CliResult.Of("simulate", "--host", Path.Combine(folder, "none")).Code);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static HostResult Run(HostDescription host, HostOptions options) =>
        HostSimulation.Run(host, options, CostModel.BuiltIn, null, TestContext.Current.CancellationToken);

    private static MergerResult Ours(HostResult result) =>
        result.Mergers.Single(one => one.Name.StartsWith("Samepage", StringComparison.OrdinalIgnoreCase));

    private static bool SameFigures(MergerResult one, MergerResult other) =>
        one.SavedBytes == other.SavedBytes && one.CpuSeconds == other.CpuSeconds && one.FullScans == other.FullScans;

    private static string Root()
    {
        string at = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(at, "Samepage.slnx")))
        {
            at = Path.GetDirectoryName(at)!;
        }

        return at;
    }
}
