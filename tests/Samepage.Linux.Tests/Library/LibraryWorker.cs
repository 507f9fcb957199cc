using System.Globalization;
using System.Runtime.InteropServices;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Library;

/// <summary>The sample program as one worker: a process of its own that uses the library.</summary>
internal sealed class LibraryWorker : IDisposable
{
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(60);
    private readonly DetachedProcess _process;

    public LibraryWorker(LiveDaemon daemon, int mebibytes)
    {
        _process = DetachedProcess.Start(
            Program, ["worker", daemon.Socket, mebibytes.ToString(CultureInfo.InvariantCulture)],
            LiveDaemon.Variables(daemon.Log));
        string[] ready = _process.ReadLine("ready", AnswerTime).Split(' ');
        ulong address = ulong.Parse(ready[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        Memory = PageRange.FromAddresses(address, address + ulong.Parse(ready[2], CultureInfo.InvariantCulture));
    }

    public static string Program => Example("MergedTable");

    /// <summary>A sample program's executable.</summary>
    public static string Example(string name) => Path.Combine(
        TestPaths.Repository, "examples", "library", name, "bin", TestPaths.Configuration, "net10.0", name);

    public int Pid => _process.Pid;

    public bool IsAlive => _process.IsAlive;

    /// <summary>Its mergeable memory.</summary>
    public PageRange Memory { get; }

    public string Ask(string command, string answer)
    {
        _process.Send(command);
        return _process.ReadLine(answer, AnswerTime);
    }

    /// <summary>Fails unless every entry of its table is what it wrote last.</summary>
    public void Check()
    {
        _process.Send("check");
        string wrong = "";
        string answer = _process.ReadLine("", AnswerTime, line => wrong = line);
        Assert.Equal(("good", ""), (answer, wrong));
    }

    /// <summary>PSS of its mergeable memory in pages, by the kernel.</summary>
    public double PssPages
    {
        get
        {
            long kibibytes = 0;
            bool inside = false;
            foreach (string line in File.ReadLines($"/proc/{Pid}/smaps"))
            {
                string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                if (words[0].Contains('-', StringComparison.Ordinal))
                {
                    ulong start = ulong.Parse(words[0].Split('-')[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                    inside = Memory.Contains(start >> PageSize.Shift);
                }
                else if (inside && words[0] == "Pss:")
                {
                    kibibytes += long.Parse(words[1], CultureInfo.InvariantCulture);
                }
            }

            return kibibytes / 4.0;
        }
    }

    /// <summary>Frame behind each page of its memory, from pagemap (bits 0 to 54); 0 where there is none.</summary>
    public ulong[] Frames()
    {
        using var pagemap = new FileStream(
            $"/proc/{Pid}/pagemap", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        pagemap.Seek((long)Memory.Start * sizeof(ulong), SeekOrigin.Begin);
        var entries = new ulong[Memory.Count];
        pagemap.ReadExactly(MemoryMarshal.AsBytes(entries.AsSpan()));
        return [.. entries.Select(entry => (entry >> 63) == 0 ? 0 : entry & ((1ul << 55) - 1))];
    }

    public int Quit()
    {
        _process.Send("quit");
        return _process.WaitForExit(AnswerTime);
    }

    public void Dispose() => _process.Dispose();
}
