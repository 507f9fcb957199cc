using Samepage.Linux.Program;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <content>The store window: kept filled until no more plans come (Rest, or the end of Execute), then emptied.</content>
public sealed partial class LiveTarget
{
    /// <summary>Few enough to be dropped on the way, at the end of the last stop window (50 us).</summary>
    private const long DroppedInPassing = 1024;

    /// <summary>How many one window of its own drops, with one thread held (0.4 ms).</summary>
    private const long DroppedAtOnce = 8192;

    /// <summary>More are never kept: 128 MiB of the target's resident size, for less than a second.</summary>
    private const long KeptMax = 32768;

    private readonly StoreWindowUse _storeWindow = new();

    private PageRange StoreWindow => Area(ControlLayout.Window, Bootstrap.WindowBytes);

    /// <summary>Notes what a batch is going to look at; the last one empties the window on its way when that is quick.</summary>
    private void PrepareWindowDrop(Span<MergePlan> plans, bool isLast)
    {
        PageRange window = StoreWindow;
        foreach (Part part in _parts.All)
        {
            ref MergePlan plan = ref plans[part.Plan];
            if (plan.Kind is PlanKind.Share or PlanKind.Reshare)
            {
                _storeWindow.Touch(window.Start + plan.Slot + part.Offset, part.Count);
            }
        }

        bool drop = isLast && !_machine.Options.KeepsStoreWindow && !_storeWindow.IsEmpty
            && _storeWindow.Pages <= DroppedInPassing;
        PageRange extent = drop ? _storeWindow.Extent(window) : default;
        _control.SetHeader(ControlLayout.WindowDropStart, extent.Start << PageSize.Shift);
        _control.SetHeader(ControlLayout.WindowDropBytes, extent.Count << PageSize.Shift);
    }

    /// <summary>To be called when a window has ended as it should.</summary>
    private void NoteWindowDrop()
    {
        if (_control.Header(ControlLayout.WindowDropBytes) != 0)
        {
            _control.SetHeader(ControlLayout.WindowDropBytes, 0);
            _storeWindow.Clear();
        }
    }

    /// <summary>Empties the store window, with one thread held at a time and all others running on.</summary>
    private void DropStoreWindow()
    {
        PageRange window = StoreWindow;
        while (!_storeWindow.IsEmpty && !_machine.Options.KeepsStoreWindow && IsAlive)
        {
            _control.Clear();
            _control.SetHeader(ControlLayout.WindowDropBytes, 0);
            foreach (PageRange range in _storeWindow.Take(window, DroppedAtOnce))
            {
                _ = _control.AddCall(
                    Abi.SYS_madvise, [range.Start << PageSize.Shift, range.Count << PageSize.Shift, Abi.MADV_DONTNEED]);
            }

            if (RunOne() != WindowStatus.Done)
            {
                // It will be asked again at the end of the next call.
                _storeWindow.TouchAll(window);
                return;
            }
        }
    }
}
