using System.CommandLine;

namespace Samepage.Cli.Verbs;

/// <summary>Examples shown by --help, by verb.</summary>
internal static class Examples
{
    private static readonly Dictionary<string, string[]> ByVerb = new()
    {
        ["demo"] =
        [
            "samepage demo                                  four processes, 128 MiB each",
            "samepage demo --processes 8 --mebibytes 256    more of both",
        ],
        ["daemon"] =
        [
            "samepage daemon                                in the foreground, log on standard error",
            "samepage daemon --unmerge-on-exit              leave every process as it was found",
            "curl --unix-socket /run/samepage.sock http://samepage/v1/status",
        ],
        ["doctor"] = ["samepage doctor                                what this host has and lacks"],
        ["status"] =
        [
            "samepage status                                counters for people",
            "samepage status --json                         the same for programs",
        ],
        ["list"] = ["samepage list                                  attached processes and what each one saves"],
        ["top"] =
        [
            "samepage top                                   refreshed every second until Ctrl-C",
            "samepage top --json                            one look, for programs",
        ],
        ["run"] =
        [
            "samepage run -- ./program-that-calls-madvise",
            "samepage run --dev-ksm --admin-view v4 -- ./program-of-2009",
            "samepage run --all -- qemu-system-x86_64 -m 2048 -kernel vmlinuz",
            "samepage run --all --domain tests -- make -j8 check",
        ],
        ["attach"] =
        [
            "samepage attach 4711 4712                      everything mergeable in two processes",
            "samepage attach 4711 --range 7f0000000000-7f0040000000",
            "samepage attach $(pidof qemu-system-x86_64) --domain guests",
        ],
        ["detach"] =
        [
            "samepage detach 4711                           private pages again, no trace left",
            "samepage detach --all",
        ],
        ["merge"] =
        [
            "samepage merge                                 now, all attached processes, until nothing is left",
            "samepage merge 4711 --json",
        ],
        ["unmerge"] = ["samepage unmerge 4711                          private pages again; it stays attached"],
        ["get"] =
        [
            "samepage get                                   all knobs",
            "samepage get advisor_max_cpu",
        ],
        ["set"] =
        [
            "samepage set advisor_max_cpu=20                use at most 20 % of one CPU",
            "samepage set pages_to_scan=1000 sleep_millisecs=20",
            "samepage set run=2                             stop and un-merge everything",
        ],
        ["simulate"] =
        [
            "samepage simulate --seed 7 --ticks 5000        one random history, everything checked after each tick",
            "samepage simulate --runs 100                   a hundred histories, with the seeds 1 to 100",
            "samepage simulate --mutants                    machines broken on purpose, and how fast each is caught",
            "samepage simulate --exits                      exits of guests with change_pte and without",
            "samepage simulate --host FILE --svg out.svg    a whole host (examples/hosts), under KSM and under Samepage",
            "samepage simulate --exhaustive 1 --json        all histories of a small world with one action",
        ],
        ["mount"] =
        [
            "samepage mount /mnt/ksm                        the files of Linux 6.x, with Samepage behind them",
            "samepage mount /mnt/ksm2009 --view v4          those of April 2009",
            "samepage mount /sys/kernel/mm/ksm              in place of the kernel's, for every program",
        ],
        ["unmount"] = ["samepage unmount /mnt/ksm"],
        ["demo-worker"] = ["samepage demo-worker --index 0 --seed 1 --mebibytes 64"],
    };

    private static readonly string[] OfRoot =
    [
        "samepage demo                                  see it work",
        "samepage attach 4711 4712                      merge two processes from now on",
        "samepage status                                what it saves",
    ];

    /// <summary>The examples of a verb; the root has some of its own.</summary>
    internal static string[] Of(Command verb) => verb is RootCommand ? OfRoot : ByVerb[verb.Name];
}
