namespace Samepage;

/// <summary>
/// KSM's scan-time advisor (Linux 6.8, Documentation/admin-guide/mm/ksm.rst): after each pass it sets pages_to_scan so
/// that the next one takes advisor_target_scan_time. If a pass took twice the target, twice as many pages are to be
/// visited per wake-up. The change is smoothed by an exponentially weighted moving average of how the duration itself
/// changes, and bounded by CPU share (at least 10 %, at most advisor_max_cpu) and by advisor_min_pages_to_scan and
/// advisor_max_pages_to_scan.
/// </summary>
internal sealed class ScanTimeAdvisor(IMachine machine, Knobs knobs)
{
    private const double NewWeight = 0.3;
    private const double CpuPercentMin = 10;

    private int _changes = -1;
    private long _passStart;
    private TimeSpan _cpuStart;
    private double _lastSeconds;
    private double _change;

    /// <summary>A wake-up begins; the first after the advisor was chosen begins a pass for it.</summary>
    public void Begin()
    {
        if (_changes != knobs.AdvisorChanges)
        {
            _changes = knobs.AdvisorChanges;
            _lastSeconds = 0;
            _change = 0;
            Restart();
        }
    }

    /// <summary>A pass has ended.</summary>
    public void PassEnded()
    {
        double seconds = Math.Max(machine.Clock.GetElapsedTime(_passStart).TotalSeconds, 1e-3);
        double cpuPercent = Math.Max((machine.CpuTime - _cpuStart).TotalSeconds / seconds * 100, 1);
        double last = _lastSeconds > 0 ? _lastSeconds : seconds;
        _change = ((1 - NewWeight) * _change) + (NewWeight * seconds / last);
        _lastSeconds = seconds;

        double pages = knobs.PagesToScan * (seconds / knobs.AdvisorTargetScanTime) * _change;
        double pagesPerCpuPercent = Math.Max(knobs.PagesToScan / cpuPercent, 1);
        pages = Math.Min(pages, pagesPerCpuPercent * knobs.AdvisorMaxCpu);
        pages = Math.Max(pages, pagesPerCpuPercent * CpuPercentMin);
        pages = Math.Min(Math.Max(pages, knobs.AdvisorMinPagesToScan), knobs.AdvisorMaxPagesToScan);
        knobs.Advise((ulong)pages);
        Restart();
    }

    private void Restart()
    {
        _passStart = machine.Clock.GetTimestamp();
        _cpuStart = machine.CpuTime;
    }
}
