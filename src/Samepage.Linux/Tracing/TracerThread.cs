using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Tracing;

/// <summary>
/// A thread that makes ptrace requests. ptrace ties a tracee to the requesting thread, and a thread that ends lets
/// all its tracees go: that is how a thread of a target that would not stop (a parent in vfork) is released, since nothing
/// else can detach it. After such a case the thread is replaced by a new one. Work is done in the order in which it comes.
/// </summary>
internal sealed class TracerThread : IDisposable
{
    private readonly BlockingCollection<Job> _jobs = [];
    private StopWindow? _window; // assembled for the first target: a daemon without any does not keep the assembler
    private Thread _thread;
    private bool _disposed;

    public TracerThread()
    {
        IgnoreChildStops();
        _thread = Begin(null, null);
    }

    /// <summary>How often a thread had to be replaced because a target's thread could not be let go otherwise.</summary>
    public int Replaced { get; private set; }

    /// <summary>True on the tracing thread while it has to end before anything more is done in a target: the work in hand is to
    /// return.</summary>
    public bool HasToEnd => IsMine && BorrowedThread.NeedsThreadExit;

    private bool IsMine => ReferenceEquals(Thread.CurrentThread, Volatile.Read(ref _thread));

    /// <summary>Runs work on the tracing thread and returns its result; exceptions come through. Work that runs there already
    /// may run more.</summary>
    /// <param name="work">The work.</param>
    /// <param name="meanwhile">What the caller does before it waits; it has to end when the work does.</param>
    public T Run<T>(Func<StopWindow, T> work, Action? meanwhile = null)
    {
        if (IsMine)
        {
            return meanwhile is null
                ? work(_window ??= new StopWindow())
                : throw new InvalidOperationException("the tracing thread cannot do something else meanwhile");
        }

        T result = default!;
        using Job job = Start(() => result = work(_window ??= new StopWindow()));
        try
        {
            meanwhile?.Invoke();
        }
        finally
        {
            job.Wait();
        }

        job.ThrowIfFailed();
        return result;
    }

    /// <summary>Starts work on the tracing thread.</summary>
    public Job Start(Action work)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var job = new Job(work);
        _jobs.Add(job);
        return job;
    }

    /// <summary>To be called by work that left threads seized: the tracing thread ends after it.</summary>
    public static void EndThreadAfterThis() => BorrowedThread.NeedsThreadExit = true;

    private Thread Begin(Thread? before, Job? unfinished)
    {
        var thread = new Thread(() => Loop(before, unfinished), 512 * 1024) { IsBackground = true, Name = "samepage tracer" };
        Volatile.Write(ref _thread, thread);
        thread.Start();
        return thread;
    }

    private void Loop(Thread? before, Job? unfinished)
    {
        // Its tracees are let go when it has ended, and only then its last work is done.
        before?.Join();
        unfinished?.Finish();

        // The waits of a window are shorter than the 50 us by which the kernel may stretch them.
        const int SYS_prctl = 157, PR_SET_TIMERSLACK = 29;
        _ = Libc.syscall(SYS_prctl, PR_SET_TIMERSLACK, 1);
        foreach (Job job in _jobs.GetConsumingEnumerable())
        {
            job.Do();
            if (BorrowedThread.NeedsThreadExit)
            {
                Replaced++;
                _ = Begin(Thread.CurrentThread, job);
                return;
            }

            job.Finish();
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
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _jobs.CompleteAdding();
        for (Thread? ended = null; !ReferenceEquals(ended, _thread);)
        {
            ended = _thread;
            ended.Join();
        }

        _window?.Dispose();
        _jobs.Dispose();
    }

    /// <summary>Work that was started.</summary>
    public sealed class Job(Action work) : IDisposable
    {
        private readonly ManualResetEventSlim _finished = new(false, spinCount: 10);
        private ExceptionDispatchInfo? _error;

        /// <summary>True as soon as the thread is at it.</summary>
        public bool HasBegun { get; private set; }

        /// <summary>True when it is done.</summary>
        public bool IsDone => _finished.IsSet;

        /// <summary>Waits until it is done.</summary>
        public void Wait() => _finished.Wait();

        /// <summary>Throws what the work has thrown.</summary>
        public void ThrowIfFailed() => _error?.Throw();

        internal void Do()
        {
            HasBegun = true;
            try
            {
                work();
            }
#pragma warning disable CA1031 // handed to whoever waits, whole
            catch (Exception e)
#pragma warning restore CA1031
            {
                _error = ExceptionDispatchInfo.Capture(e);
            }
        }

        internal void Finish() => _finished.Set();

        public void Dispose() => _finished.Dispose();
    }
}
