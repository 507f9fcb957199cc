using Samepage.Linux.Interop;
using Samepage.Linux.Proc;
using Samepage.Linux.Program;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <content>The way out: taking everything of ours out of the target again.</content>
public sealed partial class LiveTarget
{
    /// <summary>
    /// Turns store mappings into anonymous memory, removes registrations, descriptors and areas. Where the process has
    /// descriptors that may write its memory by themselves, mappings that were merged stay (their pages private,
    /// un-merged before), and with them the keeper's userfaultfd: copying such a page could lose a write in flight.
    /// </summary>
    /// <returns>Number of pages in mappings that stay.</returns>
    internal int Leave()
    {
        AwaitStarted();
        // Whatever comes now moves pages about: nobody may keep a translation.
        Notifiers.Release();
        if (!IsAlive)
        {
            return 0;
        }

        int left = HasAsyncWriters() ? CountMerged() : ConvertMerged();
        foreach (ref readonly VmaSegment segment in _classifier.Table.Segments)
        {
            if (segment.Kind == SegmentKind.Anonymous)
            {
                _ = UserfaultfdCalls.Unregister(_tracking, segment.Range);
            }
        }

        RemoveAreas(keepMerged: left != 0);
        if (left == 0)
        {
            _machine.Options.Keeper.Drop(Pid);
        }

        // Where the area has to stay (Departure), the next daemon must not take the process for one left attached.
        Adoption.Clear(_control);
        _ = _tracer.Run(_ => IsAlive && new Departure(_process, _control).Run());
        return left;
    }

    private int CountMerged()
    {
        Look();
        int pages = 0;
        foreach (ref readonly VmaSegment segment in _classifier.Table.Segments)
        {
            pages += segment.Kind == SegmentKind.Merged ? (int)segment.Range.Count : 0;
        }

        return pages;
    }

    private void Look() =>
        _ = _classifier.Refresh(new VmaRules { Store = _store.Identity, Own = _own, Tracked = _tracked }, force: false);

    /// <summary>Converts in batches of the usual length; what could not be converted in a few rounds is counted.</summary>
    private int ConvertMerged()
    {
        const int roundsMax = 4;
        for (int round = 0; round < roundsMax && IsAlive; round++)
        {
            Look();
            List<VmaSegment> merged = [];
            foreach (ref readonly VmaSegment segment in _classifier.Table.Segments)
            {
                if (segment.Kind == SegmentKind.Merged)
                {
                    merged.Add(segment);
                }
            }

            if (merged.Count == 0)
            {
                return 0;
            }

            ConvertAll(merged);
        }

        return CountMerged();
    }

    private void ConvertAll(List<VmaSegment> segments)
    {
        _control.Clear();
        double cost = 0;
        foreach (VmaSegment segment in segments)
        {
            for (ulong page = segment.Range.Start; page < segment.Range.End; page += ChunkPages)
            {
                uint count = (uint)Math.Min(ChunkPages, segment.Range.End - page);
                _ = _control.Add(
                    OpLayout.KindConvert, page << PageSize.Shift, (ulong)count << PageSize.Shift, 0,
                    ProtectionBits(segment.Protection), AdviceBytes(segment.Advice, all: true), 0, continues: false);
                cost += 8 + 0.8 * count;
                if (cost > _machine.Options.BatchTime.TotalMicroseconds || _control.Operations == ControlLayout.OperationsMax)
                {
                    RunConversions();
                    cost = 0;
                }
            }
        }

        RunConversions();
    }

    private void RunConversions()
    {
        if (_control.Operations == 0)
        {
            return;
        }

        _control.SetHeader(ControlLayout.WindowDropBytes, 0);
        for (int attempt = 0; attempt < AttemptsMax && IsAlive; attempt++)
        {
            WindowResult result = RunWindow(onlyThread: 0);
            if (result.Status == WindowStatus.Done)
            {
                _machine.StopTimes.Add(result.StoppedNanoseconds);
                break;
            }

            Thread.Sleep(1);
        }

        _control.Clear();
    }

    private void RemoveAreas(bool keepMerged)
    {
        _control.Clear();
        _control.SetHeader(ControlLayout.WindowDropBytes, 0);
        AddUnmap(ControlLayout.Window, Bootstrap.WindowBytes);
        AddUnmap(ControlLayout.Shadow, Bootstrap.ShadowBytes);
        _ = _control.AddCall(Abi.SYS_close, [ControlLayout.TrackingFd], indirect: 1);
        _ = _control.AddCall(Abi.SYS_close, [ControlLayout.StoreFd], indirect: 1);
        if (!keepMerged)
        {
            _ = _control.AddCall(Abi.SYS_close, [ControlLayout.MergedFd], indirect: 1);
        }

        _ = RunOne();
    }

    /// <summary>An area that was never mapped has no address, and must not be taken for one.</summary>
    private void AddUnmap(int header, ulong bytes)
    {
        ulong address = _control.Header(header);
        if ((long)address > 0)
        {
            _ = _control.AddCall(Abi.SYS_munmap, [address, bytes]);
            _control.SetHeader(header, 0);
        }
    }

    private static ulong ProtectionBits(VmaProtection protection) =>
        ((protection & VmaProtection.Read) != 0 ? (ulong)Abi.PROT_READ : 0)
        | ((protection & VmaProtection.Write) != 0 ? (ulong)Abi.PROT_WRITE : 0)
        | ((protection & VmaProtection.Execute) != 0 ? (ulong)Abi.PROT_EXEC : 0);
}
