using Samepage.Cli;
using Samepage.Cli.Verbs;

// `samepage status` is asked every second by monitoring: it has its own short way that loads neither the command line
// parser nor anything of the daemon's.
return LeanStatus.TryRun(args) ?? KeeperVerb.TryRun(args) ?? CommandLine.Run(args, Terminal.Standard);
