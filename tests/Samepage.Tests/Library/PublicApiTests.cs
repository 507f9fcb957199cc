using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Xunit;

namespace Samepage.Tests;

/// <summary>The library's interface is a promise: what changes it has to say so in src/Samepage.Client/PublicApi.txt.</summary>
public sealed class PublicApiTests
{
    private static string File([CallerFilePath] string here = "") => Path.GetFullPath(
        Path.Combine(Path.GetDirectoryName(here)!, "../../../src/Samepage.Client/PublicApi.txt"));

    [Fact]
    public void The_public_interface_is_the_committed_one()
    {
        string now = PublicApi.Of(typeof(SamepageClient).Assembly.GetExportedTypes());
        if (now != System.IO.File.ReadAllText(File()))
        {
            string path = Path.Combine(AppContext.BaseDirectory, "PublicApi.txt");
            System.IO.File.WriteAllText(path, now);
            Assert.Fail($"src/Samepage.Client/PublicApi.txt is not the interface; that is in {path}: look at it and copy it");
        }
    }

    [Fact]
    public void The_listing_sees_a_changed_parameter_and_a_removed_member()
    {
        string two = PublicApi.Of([typeof(WithTwo)]);
        Assert.Contains("Int32 Count(Int64 bytes = 1)", two, StringComparison.Ordinal);
        Assert.Contains("String Name { get; required init; }", two, StringComparison.Ordinal);
        Assert.NotEqual(
            two.Replace(nameof(WithTwo), "", StringComparison.Ordinal),
            PublicApi.Of([typeof(WithOne)]).Replace(nameof(WithOne), "", StringComparison.Ordinal));
    }

    [Fact]
    public void Unsafe_code_is_only_where_it_may_be()
    {
        string root = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(File())!, "../.."));
        string[] allowed = ["src/Samepage.Linux/", "src/Samepage.Client/Native/"];
        foreach (string path in new[] { "src", "examples", "bench", "sim" }.Select(part => Path.Combine(root, part))
            .Where(Directory.Exists)
            .SelectMany(part => Directory.EnumerateFiles(part, "*.cs", SearchOption.AllDirectories)))
        {
            string name = Path.GetRelativePath(root, path);
            bool hasUnsafe = System.IO.File.ReadLines(path).Any(line =>
                !line.TrimStart().StartsWith('/') && Regex.IsMatch(line, @"\b(unsafe)\b|\bUnsafe\.(As|Add|NullRef)"));
            Assert.True(
                !hasUnsafe || name.Contains("/obj/", StringComparison.Ordinal)
                    || allowed.Any(start => name.StartsWith(start, StringComparison.Ordinal)),
                $"{name} has unsafe code: see CONTRIBUTING.md");
        }
    }

    /// <summary>Two members.</summary>
    public sealed record WithTwo
    {
        /// <summary>A property.</summary>
        public required string Name { get; init; }

        /// <summary>A method.</summary>
        public static int Count(long bytes = 1) => (int)bytes;
    }

    /// <summary>One of them, with another parameter.</summary>
    public sealed record WithOne
    {
        /// <summary>A method.</summary>
        public static int Count(int bytes = 1) => bytes;
    }
}
