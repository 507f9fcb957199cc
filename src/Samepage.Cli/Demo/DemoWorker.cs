using System.Diagnostics;
using System.Globalization;

namespace Samepage.Cli.Demo;

/// <summary>
/// One of the demonstration's processes: started, told what to do by lines, ended with its standard input.
/// </summary>
internal sealed class DemoWorker : IDisposable
{
    private readonly Process process;

    private DemoWorker(Process process) => this.process = process;

    internal int Pid => process.Id;

    internal static DemoWorker Start(int index, ulong seed, int mebibytes)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        foreach (var argument in (string[])
            ["demo-worker", "--index", $"{index}", "--seed", $"{seed}", "--mebibytes", $"{mebibytes}"])
        {
            start.ArgumentList.Add(argument);
        }

        return new DemoWorker(Process.Start(start) ?? throw new IOException("no process could be started"));
    }

    /// <summary>Sends one command.</summary>
    internal void Send(string command)
    {
        process.StandardInput.WriteLine(command);
        process.StandardInput.Flush();
    }

    /// <summary>The answer to the last command, which is "ok" or says what is wrong.</summary>
    /// <exception cref="IOException">The worker has ended.</exception>
    internal string Receive() => process.StandardOutput.ReadLine() ?? throw new IOException(string.Create(
        CultureInfo.InvariantCulture, $"demo process {Pid} has ended unexpectedly"));

    public void Dispose()
    {
        process.StandardInput.Dispose(); // its sign to end
        if (!process.WaitForExit(TimeSpan.FromSeconds(5)))
        {
            process.Kill();
            process.WaitForExit();
        }

        process.Dispose();
    }
}
