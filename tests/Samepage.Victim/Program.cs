// A .NET program that keeps checking its own memory while somebody merges it.
//
//   samepage-victim --mode writers,kernel,readers,dontneed,churn,fill [--pages N] [--threads N] [--seed S] [--broken]
//
// Each mode has a region of N pages (default 4096) and N threads (default 2). Announced on standard output as
// "region START END MODE" (hex), then "ready". Commands on standard input: "report" is answered by
// "ops=N lost=N wrong=N", "verify" the same after checking every byte that nobody writes; "quit" reports and ends.
// Exit code: 0 nothing wrong, 1 an error was seen, 2 usage. --broken makes it damage its own memory.
using System.Globalization;
using Samepage.Victims;

VictimOptions options;
List<Workload> workloads;
try
{
    options = VictimOptions.Parse(args);
    workloads = [.. options.Modes.Select(mode => Workload.Create(mode, options))];
}
catch (ArgumentException e)
{
    Console.Error.WriteLine(e.Message);
    return 2;
}

using var stop = new CancellationTokenSource();
foreach (Workload workload in workloads)
{
    Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture, $"region {workload.Region.Start:x} {workload.Region.End:x} {workload.Mode}"));
}

var threads = workloads.SelectMany(workload => workload.Start(stop.Token)).ToList();
if (options.IsBroken)
{
    threads.Add(Saboteur.Start(workloads, stop.Token));
}

Console.WriteLine("ready");
for (bool quit = false; !quit;)
{
    string? command = Console.ReadLine();
    quit = command is null or "quit";
    if (quit)
    {
        await stop.CancelAsync().ConfigureAwait(false);
        threads.ForEach(thread => thread.Join());
    }

    if (command == "verify" || quit)
    {
        workloads.ForEach(workload => workload.Verify());
    }

    if (command is "verify" or "report" || quit)
    {
        long operations = workloads.Sum(workload => workload.Operations);
        long lost = workloads.Sum(workload => workload.Lost);
        long wrong = workloads.Sum(workload => workload.Wrong);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"ops={operations} lost={lost} wrong={wrong}"));
    }
}

return workloads.Any(workload => workload.Lost + workload.Wrong > 0) ? 1 : 0;
