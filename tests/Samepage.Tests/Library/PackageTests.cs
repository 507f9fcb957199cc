using System.Diagnostics;
using System.IO.Compression;
using System.Runtime.CompilerServices;
using System.Xml.Linq;
using Xunit;

namespace Samepage.Tests;

/// <summary>dotnet pack makes the package people would install.</summary>
public sealed class PackageTests
{
    private static string Project([CallerFilePath] string here = "") => Path.GetFullPath(
        Path.Combine(Path.GetDirectoryName(here)!, "../../../src/Samepage.Client"));

    private static string Configuration =>
        AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release";

    [Fact]
    public async Task The_package_has_the_library_its_documentation_and_the_engine_and_depends_on_nothing()
    {
        string directory = Directory.CreateTempSubdirectory("samepage-pack-").FullName;
        try
        {
            await Pack(directory);
            string package = Assert.Single(Directory.GetFiles(directory, "*.nupkg"));
            Assert.Matches(@"^Samepage\.\d+\.\d+\.\d+\.nupkg$", Path.GetFileName(package));
            using ZipArchive archive = await ZipFile.OpenReadAsync(package, TestContext.Current.CancellationToken);
            string[] library = [.. archive.Entries.Select(entry => entry.FullName)
                .Where(name => name.StartsWith("lib/", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
            Assert.Equal(
                [
                    "lib/net10.0/Samepage.Client.dll", "lib/net10.0/Samepage.Client.xml", "lib/net10.0/Samepage.dll",
                    "lib/net10.0/Samepage.xml",
                ],
                library);
            Assert.NotNull(archive.GetEntry("README.md"));
            await using Stream nuspec = await archive.GetEntry("Samepage.nuspec")!.OpenAsync(TestContext.Current.CancellationToken);
            XDocument document = XDocument.Load(nuspec);
            Assert.Equal("Samepage", Assert.Single(document.Descendants(), e => e.Name.LocalName == "id").Value);
            Assert.Equal("MIT", Assert.Single(document.Descendants(), e => e.Name.LocalName == "license").Value);
            Assert.DoesNotContain(document.Descendants(), e => e.Name.LocalName == "dependency");
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    // What the tests were built with is packed: nothing is compiled or restored.
    private static async Task Pack(string directory)
    {
        var start = new ProcessStartInfo("dotnet",
            ["pack", Project(), "-c", Configuration, "--no-build", "--no-restore", "-v", "quiet", "--nologo", "-o", directory])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process pack = Process.Start(start)!;
        Task<string> errors = pack.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string printed = await pack.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await pack.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(pack.ExitCode == 0, printed + await errors);
    }
}
