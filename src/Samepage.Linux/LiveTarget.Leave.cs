using Samepage.Linux.Interop;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;

namespace Samepage.Linux;

/// <content>The way out: taking everything of ours out of the target again.</content>
public sealed partial class LiveTarget
{
    /// <summary>
    /// Removes descriptors, areas and registrations. Mappings of the store that still hold private pages (written
    /// after they were merged) stay, and with them the keeper's userfaultfd.
    /// </summary>
    /// <returns>Number of pages in mappings that stay.</returns>
    internal int Leave()
    {
        if (!IsAlive)
        {
            return 0;
        }

        _ = _classifier.Refresh(new VmaRules { Store = _store.Identity, Own = _own, Tracked = _tracked }, force: false);
        int left = 0;
        foreach (ref readonly VmaSegment segment in _classifier.Table.Segments)
        {
            if (segment.Kind == SegmentKind.Anonymous)
            {
                _ = UserfaultfdCalls.Unregister(_tracking, segment.Range);
            }
            else if (segment.Kind == SegmentKind.Merged)
            {
                left += (int)segment.Range.Count;
            }
        }

        _control.Clear();
        _control.SetHeader(ControlLayout.WindowDropBytes, 0);
        _ = _control.AddCall(Abi.SYS_munmap, [ControlLayout.Window, Bootstrap_WindowBytes], indirect: 1);
        _ = _control.AddCall(Abi.SYS_munmap, [ControlLayout.Shadow, Bootstrap_ShadowBytes], indirect: 1);
        _ = _control.AddCall(Abi.SYS_close, [ControlLayout.TrackingFd], indirect: 1);
        _ = _control.AddCall(Abi.SYS_close, [ControlLayout.StoreFd], indirect: 1);
        if (left == 0)
        {
            _ = _control.AddCall(Abi.SYS_close, [ControlLayout.MergedFd], indirect: 1);
            _machine.Options.Keeper.Drop(Pid);
        }

        _ = RunOne();
        return left;
    }

    private const ulong Bootstrap_WindowBytes = Tracing.Bootstrap.WindowBytes;
    private const ulong Bootstrap_ShadowBytes = Tracing.Bootstrap.ShadowBytes;
}
