namespace Samepage.Linux.Interop;

/// <summary>linux/capability.h and the numbers of the system calls that probes make.</summary>
internal static class Capability
{
    internal const int CAP_SYS_PTRACE = 19;
    internal const int CAP_SYS_ADMIN = 21;
    internal const int CAP_SYS_NICE = 23;
    internal const long SYS_userfaultfd = 323;
}
