using System.Diagnostics;
using System.Globalization;

namespace Samepage.Examples;

/// <summary>Starts workers, merges their tables, lets each write, and looks at what the kernel says.</summary>
internal static class Demonstration
{
    internal static async Task<bool> Run(Options options)
    {
        using var client = new SamepageClient(options.Socket);
        StatusDocument before = await client.GetStatusAsync();
        var workers = new List<WorkerProcess>();
        try
        {
            for (int i = 0; i < options.Workers; i++)
            {
                workers.Add(WorkerProcess.Start(options));
            }

            workers.ForEach(worker => worker.Await("ready"));
            Print("before", workers);
            long alone = workers.Sum(worker => worker.PssKibibytes);

            // One call merges now; without it the daemon finds equal pages by itself, within its CPU ceiling.
            MergeDocument merged = await client.MergeAsync([.. workers.Select(worker => worker.Pid)]);
            Console.WriteLine($"merged {merged.PagesMerged} pages in {merged.ElapsedSeconds:0.00} s "
                + $"(daemon {before.Version}, process {before.Pid})");
            Print("merged", workers);
            long together = workers.Sum(worker => worker.PssKibibytes);

            for (int i = 0; i < workers.Count; i++)
            {
                workers[i].Ask(string.Create(CultureInfo.InvariantCulture, $"write 16 {i + 1}"));
            }

            bool good = workers.TrueForAll(worker => worker.Ask("check") == "good");
            Print("written", workers);
            Console.WriteLine(good ? "every worker reads its own table" : "a worker reads a wrong table");
            return good && together < alone;
        }
        finally
        {
            workers.ForEach(worker => worker.Dispose());
        }
    }

    private static void Print(string when, List<WorkerProcess> workers) =>
        Console.WriteLine($"{when,-8} PSS in KiB: {string.Join(' ', workers.Select(worker => worker.PssKibibytes))}");
}

/// <summary>A worker as a process of its own.</summary>
internal sealed class WorkerProcess : IDisposable
{
    private readonly Process _process;

    private WorkerProcess(Process process) => _process = process;

    internal int Pid => _process.Id;

    internal long PssKibibytes
    {
        get
        {
            string line = File.ReadLines($"/proc/{Pid}/smaps_rollup")
                .First(line => line.StartsWith("Pss:", StringComparison.Ordinal));
            return long.Parse(line.AsSpan(4, line.Length - 7), NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite,
                CultureInfo.InvariantCulture);
        }
    }

    internal static WorkerProcess Start(Options options)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        // Started as "dotnet MergedTable.dll" or by its own executable.
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(typeof(WorkerProcess).Assembly.Location);
        }

        foreach (string argument in (string[])
            ["worker", options.Socket, options.Mebibytes.ToString(CultureInfo.InvariantCulture)])
        {
            start.ArgumentList.Add(argument);
        }

        return new WorkerProcess(Process.Start(start)!);
    }

    internal string Await(string first)
    {
        string? line = _process.StandardOutput.ReadLine();
        return line?.StartsWith(first, StringComparison.Ordinal) == true
            ? line
            : throw new InvalidOperationException($"worker {Pid} said \"{line}\" instead of \"{first}\"");
    }

    internal string Ask(string command)
    {
        _process.StandardInput.WriteLine(command);
        return _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"worker {Pid} has ended");
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(TimeSpan.FromSeconds(70)))
        {
            _process.Kill();
        }

        _process.Dispose();
    }
}
