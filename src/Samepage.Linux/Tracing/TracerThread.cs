using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Tracing;

/// <summary>
/// The one thread that makes ptrace requests. ptrace ties a tracee to the requesting thread, and a thread that ends lets
/// all its tracees go: that is how a thread of a target that would not stop (a parent in vfork) is released, since nothing
/// else can detach it. After such a case the thread is replaced by a new one.
/// </summary>
internal sealed class TracerThread : IDisposable
{
    private readonly Lock _lock = new();
    private StopWindow? _window; // assembled for the first target: a daemon without any does not keep the assembler
    private readonly SemaphoreSlim _wanted = new(0);
    private Job? _job;
    private Thread _thread;
    private bool _disposed;

    public TracerThread()
    {
        IgnoreChildStops();
        _thread = Start();
    }

    /// <summary>How often a thread had to be replaced because a target's thread could not be let go otherwise.</summary>
    public int Replaced { get; private set; }

    /// <summary>Runs work on the tracing thread and returns its result; exceptions come through.</summary>
    /// <param name="work">The work.</param>
    /// <param name="meanwhile">What the caller does before it waits; it has to end when the work does.</param>
    public T Run<T>(Func<StopWindow, T> work, Action? meanwhile = null)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            T result = default!;
            var job = new Job(() => result = work(_window ??= new StopWindow()));
            Volatile.Write(ref _job, job);
            _ = _wanted.Release();
            try
            {
                meanwhile?.Invoke();
            }
            finally
            {
                job.Finished.Wait();
            }

            if (job.EndThread)
            {
                _thread.Join();
                _thread = Start();
                Replaced++;
            }

            job.Error?.Throw();
            return result;
        }
    }

    /// <summary>To be called by work that left threads seized: the tracing thread ends after it.</summary>
    public static void EndThreadAfterThis() => BorrowedThread.NeedsThreadExit = true;

    private Thread Start()
    {
        var thread = new Thread(Loop, 512 * 1024) { IsBackground = true, Name = "samepage tracer" };
        thread.Start();
        return thread;
    }

    private void Loop()
    {
        // The waits of a window are shorter than the 50 us by which the kernel may stretch them.
        const int SYS_prctl = 157, PR_SET_TIMERSLACK = 29;
        _ = Libc.syscall(SYS_prctl, PR_SET_TIMERSLACK, 1);
        while (true)
        {
            _wanted.Wait();
            Job? job = Interlocked.Exchange(ref _job, null);
            if (job is null)
            {
                return;
            }

            try
            {
                job.Work();
            }
#pragma warning disable CA1031 // handed to the caller, whole
            catch (Exception e)
#pragma warning restore CA1031
            {
                job.Error = ExceptionDispatchInfo.Capture(e);
            }

            bool end = BorrowedThread.NeedsThreadExit;
            job.EndThread = end;
            job.Finished.Set();
            if (end)
            {
                return;
            }
        }
    }

    /// <summary>
    /// .NET handles SIGCHLD without SA_NOCLDSTOP, so every stop of a target would wake its signal thread. Stops are
    /// nothing to it; only the flag is added, the handler stays.
    /// </summary>
    private static unsafe void IgnoreChildStops()
    {
        // Make sure that the runtime has installed its handler before its flags are changed.
        using (PosixSignalRegistration.Create(PosixSignal.SIGCHLD, _ => { }))
        {
        }

        const int SYS_rt_sigaction = 13, SIGCHLD = 17;
        const ulong SA_NOCLDSTOP = 1;
        ulong* action = stackalloc ulong[4];

        // SAFETY: struct kernel_sigaction on x86-64 is four words: handler, flags, restorer, mask.
        if (Libc.syscall(SYS_rt_sigaction, SIGCHLD, 0, (nint)action, 8) == 0 && action[0] > 1)
        {
            action[1] |= SA_NOCLDSTOP;
            _ = Libc.syscall(SYS_rt_sigaction, SIGCHLD, (nint)action, 0, 8);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            _ = _wanted.Release();
            _thread.Join();
            _window?.Dispose();
            _wanted.Dispose();
        }
    }

    private sealed class Job(Action work)
    {
        public Action Work { get; } = work;

        public ManualResetEventSlim Finished { get; } = new(false, spinCount: 10);

        public ExceptionDispatchInfo? Error { get; set; }

        public bool EndThread { get; set; }
    }
}
