namespace Samepage.Linux.Tracing;

/// <summary>Refuses a target whose system call filters would kill or fail what our program has to do in it.</summary>
internal static class SeccompGate
{
    public static void Check(int pid, List<byte[]> filters)
    {
        if (filters.Count > 0)
        {
            throw new TargetException(
                TargetError.Refused, $"process {pid} has a system call filter (seccomp) that the merge program might trip", pid);
        }
    }
}
