using System.Text.Json;
using Samepage.Cli.Client;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;
using Samepage.Linux.Host;

namespace Samepage.Cli.Demo;

/// <summary>
/// Unrelated processes, merged, checked byte by byte, written, checked, merged again and let go. The memory figures are
/// the kernel's own (PSS of smaps_rollup), not ours.
/// </summary>
internal sealed class Demonstration(Terminal terminal, string socket, int processes, int mebibytes) : IDisposable
{
    private readonly Progress progress = new(terminal);
    private readonly List<DemoWorker> workers = [];
    private readonly string domain = $"demo:{Environment.ProcessId}";

    internal DemoDocument Run()
    {
        using var client = DaemonStarter.Connect(socket, out var started);
        try
        {
            StartWorkers();
            return Measure(client);
        }
        finally
        {
            progress.Clear();
            if (started)
            {
                EndDaemon(client);
            }
        }
    }

    public void Dispose()
    {
        foreach (var worker in workers)
        {
            worker.Dispose();
        }
    }

    private void StartWorkers()
    {
        progress.Show($"demo: {processes} processes fill {mebibytes} MiB each");
        var seed = (ulong)Random.Shared.NextInt64();
        for (var i = 0; i < processes; i++)
        {
            workers.Add(DemoWorker.Start(i, seed, mebibytes));
        }

        foreach (var worker in workers)
        {
            worker.Receive();
        }
    }

    private DemoDocument Measure(DaemonClient client)
    {
        var pids = workers.Select(worker => worker.Pid).ToArray();
        var before = TotalPss();
        var cpu = Status(client).CpuSeconds;
        var clock = TimeProvider.System.GetTimestamp();
        try
        {
            foreach (var pid in pids)
            {
                client.Attach(new AttachBody { Pid = pid, Domain = domain });
            }

            client.Work("/v1/merge", pids, progress);
            var elapsed = TimeProvider.System.GetElapsedTime(clock);
            var status = Status(client);
            var counters = status.Domains.First(one => one.Name == domain);
            var after = TotalPss();
            var verified = All("verify") && All("write") && All("verify");
            client.Work("/v1/merge", pids, progress);
            var afterWrites = TotalPss();
            verified = All("verify") && verified;
            Detach(client, pids);
            verified = All("verify") && verified;
            return new DemoDocument
            {
                Processes = processes,
                Mebibytes = mebibytes,
                PssBeforeBytes = before,
                PssAfterBytes = after,
                PssAfterWritesBytes = afterWrites,
                PagesShared = counters.PagesShared,
                PagesSharing = counters.PagesSharing,
                ZeroPages = counters.ZeroPages,
                ElapsedSeconds = Math.Round(elapsed.TotalSeconds, 6),
                CpuSeconds = Math.Round(status.CpuSeconds - cpu, 6),
                Verified = verified,
            };
        }
        catch
        {
            Detach(client, pids);
            throw;
        }
    }

    private bool All(string command)
    {
        progress.Show($"demo: all processes {command}");
        workers.ForEach(worker => worker.Send(command));
        var good = true;
        foreach (var worker in workers)
        {
            var answer = worker.Receive();
            if (answer != "ok")
            {
                good = false;
                progress.Clear();
                terminal.Error.WriteLine($"{CommandLine.ErrorPrefix}demo process {worker.Pid}: {answer}");
            }
        }

        return good;
    }

    private static void Detach(DaemonClient client, int[] pids)
    {
        foreach (var pid in pids)
        {
            client.Send("DELETE", $"/v1/targets/{pid}");
        }
    }

    private long TotalPss() => workers.Sum(worker => ProcessFacts.ProportionalSetBytes(worker.Pid)
        ?? throw new RequestException(
            ExitCode.NotPermitted, $"/proc/{worker.Pid}/smaps_rollup cannot be read: be root"));

    private static StatusDocument Status(DaemonClient client) =>
        client.Get("/v1/status", ApiJson.Default.StatusDocument);

    // The host is left as it was found: a daemon that was not there before goes again.
    private static void EndDaemon(DaemonClient client)
    {
        var (status, body) = client.Send("GET", "/v1/status");
        if (status == 200)
        {
            var pid = JsonSerializer.Deserialize(body, ApiJson.Default.StatusDocument)!.Pid;
            _ = ProcessSignal.Terminate(pid);
        }
    }
}
