using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.Fuse;

namespace Samepage.Linux.Fuse;

/// <summary>
/// Serves one mount. Role: a thread of its own takes requests from /dev/fuse and answers them; only writes are answered
/// by whoever finishes them. States: serving, ended (unmounted, aborted, or stopped). Ending it without unmounting
/// leaves a mount that answers ENOTCONN, unless somebody else holds the descriptor and serves on.
/// </summary>
public sealed class FuseSession : IDisposable
{
    private const int StackBytes = 256 << 10;

    private readonly SafeFileHandle device;
    private readonly SafeFileHandle stop = FuseDevice.NewEvent();
    private readonly FuseDispatcher dispatcher;
    private readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Thread thread;
    private int disposed;

    /// <summary>Begins to serve.</summary>
    /// <param name="device">A descriptor of /dev/fuse that is mounted; owned by the session from now on.</param>
    /// <param name="directory">What the mount shows.</param>
    /// <param name="takenOver">The mount was served by somebody before, who is gone.</param>
    /// <exception cref="KernelException">It is no such descriptor.</exception>
    public FuseSession(SafeFileHandle device, IFuseDirectory directory, bool takenOver = false)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(directory);
        this.device = device;
        FuseDevice.SetNonBlocking(device);
        dispatcher = new FuseDispatcher(directory, Send, takenOver);
        if (takenOver)
        {
            AskAgain();
        }

        thread = new Thread(Serve, StackBytes) { Name = "samepage-fuse", IsBackground = true };
        thread.Start();
    }

    /// <summary>Completes when nothing is served any more.</summary>
    public Task Ended => ended.Task;

    /// <summary>The descriptor, for handing it on.</summary>
    internal SafeFileHandle Device => device;

    /// <summary>Stops serving; waits for the thread. Writes that still wait get an error.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref disposed, 1) != 0)
        {
            return;
        }

        FuseDevice.Signal(stop);
        thread.Join();
        device.Dispose();
        stop.Dispose();
    }

    private void Serve()
    {
        // A span behind the array's start would do as well: the kernel wants room for the longest request it may send.
        var buffer = new byte[FuseDispatcher.RequestMax];
        try
        {
            while (!FuseDevice.WaitForRequest(device, stop))
            {
                var length = FuseDevice.Read(device, buffer);
                if (length >= 0)
                {
                    dispatcher.Handle(buffer.AsSpan(0, (int)length));
                }
                else if (!IsPassing(Errno.Last))
                {
                    break; // ENODEV: unmounted
                }
            }
        }
        finally
        {
            dispatcher.Close();
            ended.TrySetResult();
        }
    }

    // ENOENT: the request was withdrawn while it was copied.
    private static bool IsPassing(int errno) => errno is Errno.EAGAIN or Errno.EINTR or Errno.ENOENT;

    // ENOENT here: the caller does not wait any more. The mount having gone is found out by the next read.
    private void Send(ReadOnlySpan<byte> message)
    {
        try
        {
            _ = FuseDevice.Write(device, message);
        }
        catch (ObjectDisposedException)
        {
            // Stopped while a write was being done.
        }
    }

    // Requests that the one before us had read and not answered would wait for ever (FUSE_NOTIFY_RESEND, Linux 6.9).
    private void AskAgain()
    {
        Span<byte> message = stackalloc byte[16];
        MemoryMarshal.Write(
            message, new fuse_out_header { len = (uint)message.Length, error = FUSE_NOTIFY_RESEND, unique = 0 });
        Send(message);
    }
}
