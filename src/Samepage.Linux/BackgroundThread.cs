using System.Collections.Concurrent;

namespace Samepage.Linux;

/// <summary>
/// One thread that does jobs in the order they are started. One, because on a small host a second target stopped at
/// the same time would only wait for a processor; the thread is started with the first job.
/// </summary>
internal sealed class BackgroundThread : IDisposable
{
    private readonly BlockingCollection<Task> _jobs = [];
    private Thread? _thread;

    /// <summary>Starts a job; by one thread at a time.</summary>
    public Task Start(Action work)
    {
        if (_thread is null)
        {
            _thread = new Thread(Loop) { IsBackground = true, Name = "samepage merger" };
            _thread.Start();
        }

        var job = new Task(work);
        _jobs.Add(job);
        return job;
    }

    private void Loop()
    {
        foreach (Task job in _jobs.GetConsumingEnumerable())
        {
            job.RunSynchronously(TaskScheduler.Default);
        }
    }

    public void Dispose()
    {
        _jobs.CompleteAdding();
        _thread?.Join();
        _jobs.Dispose();
    }
}
