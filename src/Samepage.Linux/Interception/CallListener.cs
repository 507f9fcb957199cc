using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.SeccompNotify;

namespace Samepage.Linux.Interception;

/// <summary>A call that waits for its answer.</summary>
/// <param name="Id">The kernel's number of it.</param>
/// <param name="Thread">Thread id of the caller in the daemon's pid namespace; 0 when it is not visible there.</param>
/// <param name="Number">System call number.</param>
/// <param name="A0">First argument.</param>
/// <param name="A1">Second argument.</param>
/// <param name="A2">Third argument.</param>
/// <param name="A3">Fourth argument.</param>
/// <param name="A4">Fifth argument.</param>
internal readonly record struct InterceptedCall(
    ulong Id, int Thread, int Number, ulong A0, ulong A1, ulong A2, ulong A3, ulong A4);

/// <summary>What the caller gets.</summary>
/// <param name="Value">The result, or a negative error number.</param>
/// <param name="Kind">Whether that is the answer.</param>
internal readonly record struct CallAnswer(long Value, CallAnswerKind Kind = CallAnswerKind.Value)
{
    /// <summary>The call is none of ours: the kernel carries it out as if nobody had looked.</summary>
    internal static CallAnswer NotOurs => new(0, CallAnswerKind.NotOurs);

    /// <summary>The answer comes later, or has been given already.</summary>
    internal static CallAnswer Later => new(0, CallAnswerKind.Later);

    internal static CallAnswer Given => new(0, CallAnswerKind.Given);
}

/// <summary>Kinds of answers.</summary>
internal enum CallAnswerKind
{
    Value,
    NotOurs,
    Later,
    Given,
}

/// <summary>
/// The listener of one filter. Calls are received into a page of a memory file (see <see cref="CallNotes"/>), so that a
/// call which a killed daemon had received but not answered is known to the next: the kernel hands each out only once.
/// </summary>
internal sealed class CallListener(SafeFileHandle descriptor) : IDisposable
{
    internal SafeFileHandle Descriptor => descriptor;

    /// <summary>Has the caller woken on the processor it runs on: 4 instead of 47 microseconds a call.</summary>
    internal unsafe void WakeOnSameProcessor() =>
        // SAFETY: the flags are passed by value. Before Linux 6.6 this fails and calls take longer.
        _ = Ioctl.ioctl(
            descriptor, (nuint)SECCOMP_IOCTL_NOTIF_SET_FLAGS, (void*)SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);

    /// <summary>Waits for a call and receives it into a note.</summary>
    /// <returns>False when there will be no more: every process under the filter has ended.</returns>
    internal unsafe bool Receive(CallNotes notes, int note)
    {
        while (true)
        {
            notes.Clear(note);
            // SAFETY: a note has room for struct seccomp_notif and is zeroed, as the kernel demands.
            if (Ioctl.ioctl(descriptor, (nuint)SECCOMP_IOCTL_NOTIF_RECV, (void*)notes.Address(note)) == 0)
            {
                return true;
            }

            int errno = Errno.Last;
            if (errno is not (Errno.EINTR or Errno.ENOENT) || HasEnded)
            {
                return false;
            }
        }
    }

    /// <summary>True when every process under the filter has ended.</summary>
    internal bool HasEnded => Pidfd.HasHungUp(descriptor, KsmCalls.POLLHUP);

    /// <summary>True while the caller still waits: what was looked up by its thread id was really its own.</summary>
    internal unsafe bool IsWaiting(ulong id) =>
        // SAFETY: the kernel reads the number.
        Ioctl.ioctl(descriptor, (nuint)SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;

    /// <summary>Answers. That the caller has been killed meanwhile is no error.</summary>
    internal unsafe void Answer(ulong id, CallAnswer answer)
    {
        bool ours = answer.Kind == CallAnswerKind.Value;
        seccomp_notif_resp response = new()
        {
            id = id,
            val = ours ? Math.Max(answer.Value, 0) : 0,
            error = ours ? (int)Math.Min(answer.Value, 0) : 0,
            flags = ours ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE,
        };
        // SAFETY: the structure has the size the number names.
        _ = Ioctl.ioctl(descriptor, (nuint)SECCOMP_IOCTL_NOTIF_SEND, &response);
    }

    /// <summary>Gives the caller a descriptor, not close-on-exec, whose number is the result of its call: both or
    /// neither.
    /// </summary>
    /// <returns>0, or the error number; nothing is answered then.</returns>
    internal unsafe int AnswerWithDescriptor(ulong id, int source)
    {
        seccomp_notif_addfd add = new() { id = id, flags = SECCOMP_ADDFD_FLAG_SEND, srcfd = (uint)source };
        // SAFETY: the structure has the size the number names.
        return Ioctl.ioctl(descriptor, (nuint)SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0 ? 0 : Errno.Last;
    }

    public void Dispose() => descriptor.Dispose();
}
