using Samepage.Benchmarks;
using Samepage.Benchmarks.EndToEnd;

Benchmark[] all =
[
    new("digest", "digest of pages by tier, beside plain reading, in GB/s", DigestBenchmarks.Run),
    new("index", "insert and lookup in the digest index, in ns and bytes per entry", IndexBenchmarks.Run),
    new("sim", "the simulated machine: operations per second of one core, memory", SimulationBenchmarks.Run),
    new("footprint", "the daemon's memory, time of samepage status", a => EndToEndBenchmarks.RunPart("footprint", a)),
    new("scan", "(c) pages per CPU second on unique memory, beside ksmd", a => EndToEndBenchmarks.RunPart("scan", a)),
    new("guests", "(d) three virtual machines, beside ksmd", a => EndToEndBenchmarks.RunPart("guests", a)),
    new("identical", "(e) two identical processes, beside ksmd", a => EndToEndBenchmarks.RunPart("identical", a)),
    new("lone", "(f) equal pages without equal neighbours, beside ksmd", a => EndToEndBenchmarks.RunPart("lone", a)),
    new("idle", "(g) CPU per pass over idle memory, beside ksmd", a => EndToEndBenchmarks.RunPart("idle", a)),
    new("corunner", "(h) access latency while merging, beside ksmd", a => EndToEndBenchmarks.RunPart("corunner", a)),
    new("touch", "(i) faults and latency of the first touch after a merge", a => EndToEndBenchmarks.RunPart("touch", a)),
    new("adminfiles", "(j) reading the admin files; run=2", a => EndToEndBenchmarks.RunPart("adminfiles", a)),
    new("run", "system calls under samepage run: madvise round trip, getpid with and without the filter", RunCalls.Run),
    new("all", "everything in one run, written to bench/results", EndToEndBenchmarks.RunAll),
];

var chosen = args.Length == 0 ? null : Array.Find(all, benchmark => benchmark.Name == args[0]);
if (chosen is null)
{
    Console.Error.WriteLine(args.Length == 0
        ? "name a benchmark; --smoke behind it runs a small size:"
        : $"there is no benchmark '{args[0]}'; there are:");
    foreach (var benchmark in all)
    {
        Console.Error.WriteLine($"  {benchmark.Name,-10} {benchmark.Summary}");
    }

    return 2;
}

return chosen.Run(args[1..]);
