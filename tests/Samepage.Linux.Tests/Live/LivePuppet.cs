using System.Globalization;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>A puppet (Puppet.c) that is no child of this process, so that it can be merged from here.</summary>
internal sealed class LivePuppet : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private readonly DetachedProcess _process;

    private LivePuppet(DetachedProcess process) => _process = process;

    public int Pid => _process.Pid;

    public static LivePuppet Start()
    {
        string source = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Puppet.c"));
        return new LivePuppet(DetachedProcess.Start(CCompiler.Build("puppet", source, "-O1", "-Wall", "-pthread"), []));
    }

    /// <summary>Sends a line and returns the number that comes back.</summary>
    public ulong Do(string command)
    {
        _process.Send(command);
        return ulong.Parse(_process.ReadLine("", Limit), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }

    public void Expect(string command) => Assert.Equal(0ul, Do(command));

    /// <summary>Sends a line that gets no answer.</summary>
    public void Tell(string command) => _process.Send(command);

    public ulong Map(int pages)
    {
        ulong address = Do($"map {pages} 3");
        Assert.NotEqual(ulong.MaxValue, address);
        return address;
    }

    /// <summary>Maps pages and fills page i with the byte (seed + i) | 1, so that pages lie two and two alike.</summary>
    public ulong MapFilled(int pages, int seed = 1)
    {
        ulong address = Map(pages);
        Fill(address, pages, seed);
        return address;
    }

    public void Fill(ulong address, int pages, int seed = 1) => Do($"fill {address:x} {pages} {seed}");

    public void Dispose() => _process.Dispose();
}
