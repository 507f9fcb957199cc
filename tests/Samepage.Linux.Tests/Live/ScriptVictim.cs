using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Live;

/// <summary>A victim in an interpreted language (Victims/*.py).</summary>
internal sealed class ScriptVictim : Victim
{
    private ScriptVictim(DetachedProcess process)
        : base(process)
    {
    }

    public static ScriptVictim StartPython(string script)
    {
        // Not a launcher script of the same name: that one would be a process in between.
        string? python = new[] { "/usr/bin/python3", TestPaths.Which("python3") }.FirstOrDefault(File.Exists);
        Assert.SkipUnless(python is not null, "Python is missing (Debian package python3)");
        return new ScriptVictim(DetachedProcess.Start(python, ["-u", Path.Combine(TestPaths.Victims, script)]));
    }
}
