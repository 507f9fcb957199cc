namespace Samepage.Linux.Proc;

/// <summary>What may be asked about a process before it is attached.</summary>
public static class TargetProcess
{
    /// <summary>Real user id of a process that can be worked on.</summary>
    /// <exception cref="TargetException">There is none, or it is of a kind that is not merged.</exception>
    public static uint RealUid(int pid)
    {
        using ProcessIdentity process = ProcessIdentity.Open(pid);
        return process.RealUid;
    }
}
