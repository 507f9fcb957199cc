using System.Runtime.InteropServices;
using Samepage.Linux.Interop;
using Samepage.Linux.Program;

namespace Samepage.Linux.Tracing;

/// <summary>
/// Holds the control area's robust mutex for the calling thread while single ptrace requests are made: if the thread dies,
/// the kernel marks the mutex and the merge program lets its thread go. (The stop window does this in its own code.)
/// </summary>
internal sealed unsafe class MutexOwner : IDisposable
{
    private readonly NativePages _head = new(4096);
    private readonly ControlArea _control;
    private readonly nint _old;

    public MutexOwner(ControlArea control)
    {
        _control = control;
        nint old = 0, length = 0;

        // SAFETY: the kernel writes two words into locals.
        Libc.Check(Libc.syscall(Abi.SYS_get_robust_list, 0, (nint)(&old), (nint)(&length)), "get_robust_list");
        _old = old;
        nint node = control.Address + ControlLayout.RobustNode;
        Marshal.WriteIntPtr(_head.Address, node);
        Marshal.WriteInt64(_head.Address + 8, ControlLayout.Mutex - ControlLayout.RobustNode);
        Marshal.WriteIntPtr(_head.Address + 16, 0);
        Marshal.WriteIntPtr(node, _head.Address);
        Libc.Check(Libc.syscall(Abi.SYS_set_robust_list, _head.Address, 24), "set_robust_list");
        long self = Libc.syscall(Abi.SYS_gettid);
        Marshal.WriteInt32(control.Address + ControlLayout.Mutex, (int)((uint)self | Abi.FUTEX_WAITERS));
    }

    public void Dispose()
    {
        Marshal.WriteInt32(_control.Address + ControlLayout.Mutex, 0);
        _ = Libc.syscall(Abi.SYS_set_robust_list, _old, 24);
        _head.Dispose();
    }
}
