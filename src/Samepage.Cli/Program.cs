using Samepage.Cli;
using Samepage.Cli.Verbs;

// `samepage status` is asked every second by monitoring: it has its own short way that loads neither the command line
// parser nor anything of the daemon's. So has `merge --json`, whose work may take no longer than the parser's start, and
// the keeper, which stays in memory as long as anything is merged.
return LeanStatus.TryRun(args)
    ?? LeanMerge.TryRun(args)
    ?? KeeperVerb.TryRun(args, Terminal.Standard)
    ?? CommandLine.Run(args, Terminal.Standard);
