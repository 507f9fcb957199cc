using Samepage.Benchmarks;

Benchmark[] all =
[
    new("digest", "digest of pages by tier, beside plain reading, in GB/s", DigestBenchmarks.Run),
    new("index", "insert and lookup in the digest index, in ns and bytes per entry", IndexBenchmarks.Run),
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
