using Samepage.Linux.Proc;
using Samepage.Linux.Program;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <content>Samples of pages, worked out inside the target: see <see cref="MergeProgram"/>.</content>
public sealed partial class LiveTarget
{
    private const int SampleAttemptsMax = 3;
    private const int SampleWindowPagesMin = 1024;

    // What fits the time a batch may take; learned.
    private int _sampleWindowPages = SampleLimits.Pages;
    private double _sampleNanoseconds = 40;

    /// <summary>Windows in which pages were sampled, and those of them that met a page that was not to be read.</summary>
    internal (long All, long Faulted) SampleWindows { get; private set; }

    /// <inheritdoc/>
    public int Sample(ReadOnlySpan<PageRange> pages, PageSampler sampler, Span<ulong> samples)
    {
        ArgumentNullException.ThrowIfNull(sampler);
        AwaitStarted();
        if (!IsAlive || !MaySample())
        {
            return 0;
        }

        _control.SetSampler(sampler);
        _control.SetHeader(ControlLayout.WindowDropBytes, 0);
        int done = 0;
        int next = 0;
        ulong offset = 0;
        while (next < pages.Length && done < samples.Length)
        {
            int runs = 0;
            int wanted = 0;
            int most = Math.Min(_sampleWindowPages, samples.Length - done);
            while (runs < SampleLimits.Runs && wanted < most && next < pages.Length)
            {
                PageRange rest = pages[next] with { Start = pages[next].Start + offset };
                ulong count = Math.Min(rest.Count, (ulong)(most - wanted));
                _control.SetSampleRun(runs++, rest with { End = rest.Start + count });
                wanted += (int)count;
                (next, offset) = count == rest.Count ? (next + 1, 0) : (next, offset + count);
            }

            int got = SampleWindow(runs, wanted);
            _control.Samples(samples.Slice(done, got));
            done += got;
            if (got < wanted)
            {
                break;
            }
        }

        return done;
    }

    /// <summary>One window over the runs in the control area.</summary>
    /// <returns>Pages sampled.</returns>
    private int SampleWindow(int runs, int pages)
    {
        _control.Clear();
        int operation = _control.AddSample(runs);
        for (int attempt = 0; attempt < SampleAttemptsMax; attempt++)
        {
            WindowResult result = RunWindow(0, attempt);
            if (result.Status == WindowStatus.Done)
            {
                _machine.StopTimes.Add(result.StoppedNanoseconds);
                LearnSampling(pages, result);
                bool faulted = _control.Status(operation) != OpLayout.StatusDone;
                SampleWindows = (SampleWindows.All + 1, SampleWindows.Faulted + (faulted ? 1 : 0));
                return (int)Math.Min(_control.DoneBytes(operation), (ulong)pages);
            }

            if (result.Status is not (WindowStatus.TimedOut or WindowStatus.NoThread or WindowStatus.SomebodyInside))
            {
                break;
            }
        }

        return 0;
    }

    /// <summary>
    /// The fastest of the last windows counts: on a busy machine some take longer for reasons that smaller ones would not
    /// change.
    /// </summary>
    private void LearnSampling(int pages, in WindowResult result)
    {
        if (pages < SampleWindowPagesMin)
        {
            return;
        }

        double each = (double)(result.ProgramDone - result.AllStopped) / pages;
        _sampleNanoseconds = Math.Max(1, Math.Min(each, _sampleNanoseconds * 1.25));
        double fit = _machine.Options.BatchTime.TotalNanoseconds / _sampleNanoseconds;
        _sampleWindowPages = (int)Math.Clamp(fit, SampleWindowPagesMin, SampleLimits.Pages);
    }

    /// <summary>
    /// Reading is the way where system calls are filtered: the two that sampling needs besides (rt_sigaction, msync) were not
    /// judged when the process was attached.
    /// </summary>
    private bool MaySample() =>
        !_machine.Options.StopsOneThreadOnly && _process.Proc.TryReadStatus(_buffer, out ProcessStatus status) && status.SeccompMode == 0;
}
