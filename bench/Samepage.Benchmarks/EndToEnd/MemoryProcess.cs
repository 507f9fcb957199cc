using System.Diagnostics;
using System.Globalization;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>A process with memory of known content: memory.c, compiled with gcc.</summary>
internal sealed class MemoryProcess : IDisposable
{
    private readonly Process _process;
    private readonly int _mebibytes;
    private bool _ended;

    private MemoryProcess(Process process, int mebibytes)
    {
        _process = process;
        _mebibytes = mebibytes;
    }

    /// <summary>Process id.</summary>
    public int Pid => _process.Id;

    /// <summary>Pages it has.</summary>
    public long Pages => _mebibytes * 256L;

    /// <summary>Starts one; it is ready when <see cref="WaitUntilReady"/> returns.</summary>
    public static MemoryProcess Start(string folder, int mebibytes, string kind, int side, bool mergeable)
    {
        List<string> arguments = [$"{mebibytes}", kind, $"{side}"];
        if (mergeable)
        {
            arguments.Add("mergeable");
        }

        var process = Process.Start(new ProcessStartInfo(Compile(folder), arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        }) ?? throw new IOException("cannot start the memory program");
        var memory = new MemoryProcess(process, mebibytes);
        CleanUp.Add(memory.Dispose);
        return memory;
    }

    /// <summary>Starts two sides of a kind and waits until both have their content.</summary>
    public static MemoryProcess[] StartPair(string folder, int mebibytes, string kind, bool mergeable)
    {
        MemoryProcess[] pair =
        [
            Start(folder, mebibytes, kind, 0, mergeable), Start(folder, mebibytes, kind, 1, mergeable),
        ];
        Array.ForEach(pair, memory => memory.WaitUntilReady());
        return pair;
    }

    /// <summary>Waits until the memory is filled.</summary>
    public void WaitUntilReady() => Answer();

    /// <summary>Gives every page new content.</summary>
    public void Rewrite() => Ask("rewrite");

    /// <summary>Reads all memory.</summary>
    /// <exception cref="InvalidOperationException">Content is wrong.</exception>
    public void Check()
    {
        var wrong = Ask("check");
        if (wrong != "0")
        {
            throw new InvalidOperationException($"process {Pid} has {wrong} pages with wrong content");
        }
    }

    /// <summary>Accesses its memory for a while; gives number of accesses, p50, p99, p99.9 and maximum in ns.</summary>
    public long[] Latency(double seconds) =>
        [.. Ask(string.Create(CultureInfo.InvariantCulture, $"latency {seconds}"))
            .Split(' ').Select(word => long.Parse(word, CultureInfo.InvariantCulture))];

    /// <summary>Reads a word of each page: faults, then p50, p99, longest and total in ns.</summary>
    public long[] Touch() => Numbers(Ask("touch"));

    /// <summary>
    /// The same on a plain private mapping of equal pages, with the page table filled before or not; and the time that
    /// took in ns.
    /// </summary>
    public long[] TouchControl(bool populated) => Numbers(Ask(populated ? "control 1" : "control 0"));

    private static long[] Numbers(string line) =>
        [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(word => long.Parse(word, CultureInfo.InvariantCulture))];

    /// <summary>Ends it.</summary>
    public void Dispose()
    {
        if (!_ended)
        {
            _ended = true;
            _process.Kill();
            _process.WaitForExit();
            _process.Dispose();
        }
    }

    private string Ask(string command)
    {
        _process.StandardInput.WriteLine(command);
        _process.StandardInput.Flush();
        return Answer();
    }

    private string Answer() => _process.StandardOutput.ReadLine()
        ?? throw new IOException("the memory program ended: is there enough memory, and CONFIG_KSM in the kernel?");

    private static string Compile(string folder)
    {
        var program = Path.Combine(folder, "memory");
        if (File.Exists(program))
        {
            return program;
        }

        var source = Path.Combine(AppContext.BaseDirectory, "EndToEnd", "memory.c");
        using var gcc = Process.Start("gcc", ["-O2", "-w", "-o", program, source]);
        gcc.WaitForExit();
        return gcc.ExitCode == 0 ? program : throw new IOException("gcc could not compile memory.c");
    }
}
