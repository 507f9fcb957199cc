using System.Runtime.Versioning;
using Samepage.Linux.Keeper;

[assembly: SupportedOSPlatform("linux")]

try
{
    return KeeperProcess.Run(KeeperOptions.Parse(args));
}
catch (Exception problem) when (problem is ArgumentException or IOException)
{
    await Console.Error.WriteLineAsync(problem.Message);
    return 2;
}
