using System.Runtime.InteropServices;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Host;

/// <summary>Signals to other processes.</summary>
internal static class ProcessSignal
{
    /// <summary>Asks a process to end (SIGTERM).</summary>
    /// <returns>0, or the error number.</returns>
    internal static int Terminate(int pid) =>
        Libc.syscall(HostCalls.SYS_kill, pid, HostCalls.SIGTERM) == 0 ? 0 : Marshal.GetLastPInvokeError();
}
