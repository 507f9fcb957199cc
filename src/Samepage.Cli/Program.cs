using Samepage.Cli;
using Samepage.Cli.Verbs;

// `samepage status` is asked every second by monitoring: it has its own short way that loads neither the command line
// parser nor anything of the daemon's.
// So has the keeper, which stays in memory as long as anything is merged.
return KeeperVerb.TryRun(args, Terminal.Standard)
    ?? LeanStatus.TryRun(args)
    ?? CommandLine.Run(args, Terminal.Standard);
