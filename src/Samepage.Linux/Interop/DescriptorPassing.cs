using System.Runtime.InteropServices;

namespace Samepage.Linux.Interop;

/// <summary>unix(7): descriptors as ancillary data (SCM_RIGHTS).</summary>
internal static unsafe class DescriptorPassing
{
    private const int SYS_sendmsg = 46, SOL_SOCKET = 1, SCM_RIGHTS = 1, MSG_NOSIGNAL = 0x4000;

    [StructLayout(LayoutKind.Sequential)]
    private struct msghdr
    {
        internal nint msg_name;
        internal uint msg_namelen;
        internal nint msg_iov;
        internal nuint msg_iovlen;
        internal nint msg_control;
        internal nuint msg_controllen;
        internal int msg_flags;
    }

    /// <summary>Sends bytes and descriptors in one message.</summary>
    /// <exception cref="KernelException">The other end is gone or refuses.</exception>
    public static void Send(int socket, ReadOnlySpan<byte> data, ReadOnlySpan<int> descriptors)
    {
        byte* control = stackalloc byte[16 + 8 * 4];
        nint* vector = stackalloc nint[2];
        new Span<byte>(control, 48).Clear();
        *(long*)control = 16 + 4 * descriptors.Length;
        *(int*)(control + 8) = SOL_SOCKET;
        *(int*)(control + 12) = SCM_RIGHTS;
        for (int i = 0; i < descriptors.Length; i++)
        {
            *(int*)(control + 16 + 4 * i) = descriptors[i];
        }

        // SAFETY: everything the header points to is on this frame or pinned; the control buffer holds up to 8 descriptors.
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, 8);
        fixed (byte* bytes = data)
        {
            vector[0] = (nint)bytes;
            vector[1] = data.Length;
            msghdr header = new()
            {
                msg_iov = (nint)vector,
                msg_iovlen = 1,
                msg_control = (nint)control,
                msg_controllen = (nuint)((16 + 4 * descriptors.Length + 7) & ~7),
            };
            Libc.Check(Libc.syscall(SYS_sendmsg, socket, (nint)(&header), MSG_NOSIGNAL), "sendmsg");
        }
    }
}
