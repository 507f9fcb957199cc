using Xunit;

namespace Samepage.Linux.Tests.Support;

/// <summary>Debian's jemalloc, an allocator that gives pages back by MADV_DONTNEED and expects zeros there.</summary>
internal static class Jemalloc
{
    private const string LibraryPath = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

    public static string PathOrSkip()
    {
        Assert.SkipUnless(File.Exists(LibraryPath), "jemalloc is missing (Debian package libjemalloc2)");
        return LibraryPath;
    }
}
