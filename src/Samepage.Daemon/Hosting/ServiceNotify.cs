using System.Net.Sockets;
using System.Text;

namespace Samepage.Daemon.Hosting;

/// <summary>Tells systemd when the daemon is ready and when it ends (sd_notify's protocol, Type=notify).</summary>
internal static class ServiceNotify
{
    internal static void Ready() => Send("READY=1\nSTATUS=Answering requests");

    internal static void Stopping() => Send("STOPPING=1");

    private static void Send(string state)
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 1 } address)
        {
            return;
        }

        try
        {
            // '@' stands for the zero byte of an abstract address.
            var endPoint = new UnixDomainSocketEndPoint(address[0] == '@' ? '\0' + address[1..] : address);
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            socket.Connect(endPoint);
            socket.Send(Encoding.UTF8.GetBytes(state));
        }
        catch (SocketException)
        {
            // systemd gives up on us if this mattered; there is nobody else to tell.
        }
    }
}
