using System.Diagnostics;
using Xunit;

namespace Samepage.Tests;

/// <summary>
/// The tests of digest and index again, in a process of their own for which the runtime hides instructions, so that
/// what a lesser processor would run is run here too.
/// </summary>
public sealed class RestrictedProcessorTests
{
    private static readonly string[] DigestAndIndex =
    [
        nameof(DigestTierTests), nameof(VectorTests), nameof(ZeroPageTests), nameof(TierChoiceTests),
        nameof(DigestIndexTests), nameof(DigestIndexModelTests),
    ];

    [Theory]
    [InlineData("DOTNET_EnableAVX2")]
    [InlineData("DOTNET_EnableHWIntrinsic")]
    public Task DigestAndIndexPassWithout(string feature) => RunAgain(feature, "0", DigestAndIndex);

    [Theory]
    [InlineData("scalar")]
    [InlineData("vector128")]
    public Task TheEnvironmentForcesATier(string tier) => RunAgain("SAMEPAGE_DIGEST", tier, [nameof(TierChoiceTests)]);

    private static async Task RunAgain(string variable, string value, string[] classes)
    {
        var program = Path.Combine(AppContext.BaseDirectory, typeof(RestrictedProcessorTests).Assembly.GetName().Name!);
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var name in classes)
        {
            start.ArgumentList.Add("--filter-class");
            start.ArgumentList.Add($"{typeof(RestrictedProcessorTests).Namespace}.{name}");
        }

        start.Environment[variable] = value;
        using var process = Process.Start(start)!;
        var cancel = TestContext.Current.CancellationToken;
        var errors = process.StandardError.ReadToEndAsync(cancel);
        var output = await process.StandardOutput.ReadToEndAsync(cancel);
        await process.WaitForExitAsync(cancel);

        Assert.True(process.ExitCode == 0, $"{variable}={value}: exit code {process.ExitCode}\n{output}{await errors}");
    }
}
