using Samepage.Linux.Proc;
using Samepage.Linux.Program;
using Samepage.Linux.Tracing;

namespace Samepage.Linux;

/// <content>Plans become operations, operations become batches, batches become stop windows.</content>
public sealed partial class LiveTarget
{
    private const int ChunkPages = 256;
    private const int ChunkPagesMin = 64;
    private const double LearningStep = 1.06;
    private const int AttemptsMax = 40;
    private const int TimeOutsMax = 8;
    private readonly Rows<Part> _parts = new();
    private readonly Rows<SharedRun> _newlyMerged = new();
    private bool _looked;
    private readonly RestartTable _restarts = new();
    private double _costScale = 1;
    private int _vmaEstimate;

    /// <summary>A piece of a plan that is one operation.</summary>
    private readonly record struct Part(int Plan, int Operation, uint Offset, uint Count);

    /// <inheritdoc/>
    public void Execute(IPageStore store, Span<MergePlan> plans)
    {
        AwaitStarted();
        CarryOut(store, plans, moreToCome: false);
    }

    private void CarryOut(IPageStore store, Span<MergePlan> plans, bool moreToCome)
    {
        if (!ReferenceEquals(store, _store))
        {
            throw new ArgumentException($"target {Pid} belongs to the store of {_store.Domain}, not to that of {store.Domain}");
        }

        foreach (ref MergePlan plan in plans)
        {
            plan.Outcome = PlanOutcome.NotTried;
            plan.DonePages = 0;
        }

        if (!IsAlive)
        {
            Give(plans, PlanOutcome.TargetGone);
            return;
        }

        if (!FiltersAllow())
        {
            Give(plans, PlanOutcome.Refused);
            return;
        }

        if (_tracer.HasToEnd)
        {
            Give(plans, PlanOutcome.TargetBusy);
            return;
        }

        // Resharing maps over what it finds with equal bytes, whatever that is by now: it must not rest on an old look.
        _looked = HasReshare(plans);
        if (_looked)
        {
            Look();
        }

        _newlyMerged.Clear();
        _vmaEstimate = _classifier.Table.VmaCount;
        Batches(plans, moreToCome);
        _classifier.Table.ApplyMerged(_newlyMerged.All);
    }

    private static bool HasReshare(ReadOnlySpan<MergePlan> plans)
    {
        foreach (ref readonly MergePlan plan in plans)
        {
            if (plan.Kind == PlanKind.Reshare)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// The mapping a page lies in. The table is read anew once per call when it does not say what the plan expects; otherwise
    /// what it knows is good enough for sharing and un-sharing, whose steps fail without harm on a mapping that has changed.
    /// </summary>
    private bool TryFind(in MergePlan plan, ulong page, out VmaSegment segment)
    {
        SegmentKind expected = plan.Kind is PlanKind.Reshare or PlanKind.Unshare ? SegmentKind.Merged : SegmentKind.Anonymous;
        bool found = _classifier.Table.TryFind(page, out segment);
        if ((!found || segment.Kind != expected) && !_looked)
        {
            _looked = true;
            Look();
            found = _classifier.Table.TryFind(page, out segment);
        }

        return found;
    }

    /// <summary>One pass over the plans; each round packs as many as fit the batch time and runs them.</summary>
    private void Batches(Span<MergePlan> plans, bool moreToCome)
    {
        int next = 0;
        uint offset = 0;
        while (next < plans.Length)
        {
            if (_storeWindow.Pages > KeptMax)
            {
                DropStoreWindow();
            }

            _control.Clear();
            _parts.Clear();
            double cost = 0;
            ulong shadow = 0;
            while (next < plans.Length && Pack(plans, ref next, ref offset, ref cost, ref shadow))
            {
            }

            if (_parts.Count == 0)
            {
                continue;
            }

            PlanOutcome outcome = RunBatch(plans, isLast: !moreToCome && next == plans.Length);
            if (outcome != PlanOutcome.Done)
            {
                GiveParts(plans, outcome);
                if (outcome == PlanOutcome.TargetGone || outcome == PlanOutcome.TargetBusy || outcome == PlanOutcome.Refused)
                {
                    Give(plans, outcome);
                    return;
                }
            }
            else
            {
                Collect(plans, ref next, ref offset);
            }

            if (_tracer.HasToEnd)
            {
                Give(plans, PlanOutcome.TargetBusy);
                return;
            }

            // A plan whose beginning failed is not gone on with.
            if (offset != 0 && plans[next].Outcome is not (PlanOutcome.NotTried or PlanOutcome.Done))
            {
                next++;
                offset = 0;
            }
        }

        if (!moreToCome)
        {
            DropStoreWindow();
        }
    }

    /// <summary>Adds the next piece of a plan to the batch; false when the batch is full.</summary>
    private bool Pack(Span<MergePlan> plans, ref int next, ref uint offset, ref double cost, ref ulong shadow)
    {
        ref MergePlan plan = ref plans[next];
        if (plan.Outcome is not (PlanOutcome.NotTried or PlanOutcome.Done))
        {
            next++;
            offset = 0;
            return true;
        }

        ulong page = plan.Start + offset;
        uint count = Math.Min(plan.Count - offset, ChunkPages);
        if (!TryFind(plan, page, out VmaSegment segment))
        {
            return Refuse(ref plan, ref next, ref offset, PlanOutcome.Vanished);
        }

        // The engine cannot always know: un-merging, adoption and mremap leave private pages in mappings of the store.
        if (plan.Kind is PlanKind.Share or PlanKind.Reshare)
        {
            plan.Kind = segment.Kind == SegmentKind.Merged ? PlanKind.Reshare : PlanKind.Share;
        }

        if (Unsuitable(plan, segment) is { } reason)
        {
            return Refuse(ref plan, ref next, ref offset, reason);
        }

        count = ClearOf(_threadAreas.All, page, (uint)Math.Min(count, segment.Range.End - page));
        count = Math.Min(count, PagesOfOneOperation());
        double pageCost = EstimateMicroseconds(plan.Kind, count) * _costScale;
        bool isFull = _parts.Count != 0
            && (cost + pageCost > _machine.Options.BatchTime.TotalMicroseconds
                || _parts.Count == ControlLayout.OperationsMax - 2 - NotifyOperations
                || shadow + ((ulong)count << PageSize.Shift) > Bootstrap.ShadowBytes);
        if (isFull)
        {
            return false;
        }

        AddOperation(plan, next, offset, count, segment, ref shadow);
        cost += pageCost;
        offset += count;
        if (offset == plan.Count)
        {
            next++;
            offset = 0;
        }

        return true;
    }

    private static bool Refuse(ref MergePlan plan, ref int next, ref uint offset, PlanOutcome outcome)
    {
        // Parts of it may be in this batch; Collect finds the outcome set and only counts what they did.
        plan.Outcome = outcome;
        next++;
        offset = 0;
        return true;
    }

    private PlanOutcome? Unsuitable(in MergePlan plan, in VmaSegment segment)
    {
        bool inStore = plan.Kind is PlanKind.Reshare or PlanKind.Unshare;
        if (segment.Kind != (inStore ? SegmentKind.Merged : SegmentKind.Anonymous))
        {
            return PlanOutcome.Vanished;
        }

        if (plan.Kind is not PlanKind.Unshare
            && segment.Protection != (VmaProtection.Read | VmaProtection.Write))
        {
            return PlanOutcome.Refused;
        }

        if (plan.Kind == PlanKind.Share && _vmaEstimate + 4 > _machine.MaxMapCount - _machine.Options.VmaReserve)
        {
            return PlanOutcome.OverVmaBudget;
        }

        if (plan.Kind == PlanKind.Reshare && HasAsyncWriters())
        {
            return PlanOutcome.AsyncWriters;
        }

        bool beyond = plan.Kind is PlanKind.Share or PlanKind.Reshare
            && ((ulong)plan.Slot + plan.Count) << PageSize.Shift > Bootstrap.WindowBytes;
        return beyond ? PlanOutcome.Refused : null;
    }

    private void AddOperation(
        in MergePlan plan, int index, uint offset, uint count, in VmaSegment segment, ref ulong shadow)
    {
        ulong start = (plan.Start + offset) << PageSize.Shift;
        ulong bytes = (ulong)count << PageSize.Shift;
        ulong storeOffset = ((ulong)plan.Slot + offset) << PageSize.Shift;
        int operation;
        if (plan.Kind == PlanKind.Unshare)
        {
            operation = _control.AddCall(Abi.SYS_madvise, [start, bytes, Abi.MADV_POPULATE_WRITE]);
        }
        else
        {
            uint kind = plan.Kind switch
            {
                PlanKind.Share => OpLayout.KindShare,
                PlanKind.Zero => OpLayout.KindZero,
                _ => OpLayout.KindReshare,
            };
            bool continues = _parts.Count > 0 && _parts[_parts.Count - 1].Plan == index;
            operation = _control.Add(
                kind, start, bytes, storeOffset, Abi.PROT_READ | Abi.PROT_WRITE, AdviceBytes(segment.Advice), shadow, continues);
            shadow += plan.Kind == PlanKind.Reshare ? 0 : bytes;
            _vmaEstimate += plan.Kind == PlanKind.Share && !continues ? 2 : 0;
        }

        _parts.Add(new Part(index, operation, offset, count));
    }

    // Order: what changes how a program behaves first; the rest only matters to anonymous memory.
    private static readonly (VmaAdvice Flag, int Value)[] Advices =
    [
        (VmaAdvice.DontFork, Abi.MADV_DONTFORK), (VmaAdvice.DontDump, Abi.MADV_DONTDUMP),
        (VmaAdvice.HugePage, Abi.MADV_HUGEPAGE), (VmaAdvice.NoHugePage, Abi.MADV_NOHUGEPAGE),
        (VmaAdvice.Mergeable, Abi.MADV_MERGEABLE), (VmaAdvice.RandomRead, Abi.MADV_RANDOM),
        (VmaAdvice.SequentialRead, Abi.MADV_SEQUENTIAL),
    ];

    private const int AdvicesOfStoreMappings = 2;

    /// <summary>The madvise values that a store mapping needs to behave like the one it replaces, one byte each.</summary>
    private static ulong AdviceBytes(VmaAdvice advice, bool all = false)
    {
        ulong bytes = 0;
        int shift = 0;
        for (int i = 0; i < Advices.Length; i++)
        {
            (VmaAdvice flag, int value) = Advices[i];
            if ((advice & flag) != 0 && (all || i < AdvicesOfStoreMappings))
            {
                bytes |= (ulong)value << shift;
                shift += 8;
            }
        }

        return bytes;
    }

    /// <summary>First guess of what an operation costs; <see cref="_costScale"/> corrects it by what batches took.</summary>
    private static double EstimateMicroseconds(PlanKind kind, uint pages) => kind switch
    {
        PlanKind.Zero => 4 + 0.7 * pages,
        PlanKind.Unshare => 1 + 0.7 * pages,
        PlanKind.Reshare => 8 + 0.6 * pages,
        _ => 6.5 + 1.0 * pages,
    };

    /// <summary>A window can be cut between operations only, so none may take long where pages are dear.</summary>
    private uint PagesOfOneOperation() => (uint)Math.Clamp(ChunkPages / _costScale, ChunkPagesMin, ChunkPages);

    private PlanOutcome RunBatch(Span<MergePlan> plans, bool isLast)
    {
        bool onlyCalls = plans[_parts[0].Plan].Kind == PlanKind.Unshare;
        PrepareWindowDrop(plans, isLast);
        List<MmuRange>? unsharing = onlyCalls ? AnnounceUnshare(plans) : null;
        try
        {
            return RunAttempts(onlyCalls, plans);
        }
        finally
        {
            _waitOperation = -1;
            if (unsharing is not null)
            {
                EndUnshare(unsharing);
            }
        }
    }

    private PlanOutcome RunAttempts(bool onlyCalls, Span<MergePlan> plans)
    {
        int timeOuts = 0;
        MergePlan[]? told = null;
        if (!onlyCalls && Notifiers.Count > 0)
        {
            told = plans.ToArray();
            if (!_machine.Options.NotifiesAfterwards)
            {
                AddNotifyPoint();
            }
        }

        for (int attempt = 0; attempt < AttemptsMax; attempt++)
        {
            int only = onlyCalls ? AnyThread(attempt)
                : _machine.Options.StopsOneThreadOnly ? AnyThread(attempt + 1) : 0;
            WindowResult result = RunNotifyingWindow(only, timeOuts, told);
            if (result.Status == WindowStatus.Done)
            {
                NoteWindowDrop();
                if (!onlyCalls)
                {
                    Learn(plans, result);
                }

                return PlanOutcome.Done;
            }

            if (_tracer.HasToEnd)
            {
                return PlanOutcome.TargetBusy;
            }

            if (result.Status == WindowStatus.Gone && (onlyCalls || !IsAlive))
            {
                if (!IsAlive)
                {
                    return PlanOutcome.TargetGone;
                }

                continue;
            }

            if (result.Status is WindowStatus.TooManyThreads or WindowStatus.Gone
                || (result.Status == WindowStatus.TimedOut && ++timeOuts == TimeOutsMax))
            {
                return PlanOutcome.TargetBusy;
            }

            if (result.Status is WindowStatus.NotPermitted or WindowStatus.DescriptorsChanged)
            {
                return PlanOutcome.Refused;
            }

            Thread.Sleep(TimeSpan.FromMilliseconds(0.2 + timeOuts * 2));
        }

        return PlanOutcome.TargetBusy;
    }

    private void Learn(ReadOnlySpan<MergePlan> plans, in WindowResult result)
    {
        _machine.StopTimes.Add(result.StoppedNanoseconds);
        double cost = 0;
        foreach (Part part in _parts.All)
        {
            bool wasLeft = _control.Status(part.Operation) == OpLayout.StatusLeft;
            cost += wasLeft ? 0 : EstimateMicroseconds(plans[part.Plan].Kind, part.Count) * _costScale;
        }

        double took = (result.ProgramDone - result.AllStopped) / 1000.0;
        // Small steps up or down: towards the usual cost. What a window took that had to wait for a CPU says nothing.
        if (cost > 100)
        {
            _costScale = Math.Clamp(took > cost ? _costScale * LearningStep : _costScale / LearningStep, 0.2, 20);
        }
    }

    /// <summary>Reads the operations' results into the plans; goes back to the first that the window had no time for.</summary>
    private void Collect(Span<MergePlan> plans, ref int next, ref uint offset)
    {
        foreach (Part part in _parts.All)
        {
            ref MergePlan plan = ref plans[part.Plan];
            if (plan.Kind != PlanKind.Unshare && _control.Status(part.Operation) == OpLayout.StatusLeft)
            {
                (next, offset) = (part.Plan, part.Offset);
                return;
            }

            if (plan.Kind == PlanKind.Unshare)
            {
                CollectCall(ref plan, part);
                continue;
            }

            uint status = _control.Status(part.Operation);
            if (status == OpLayout.StatusDone)
            {
                Merged(plan, part, part.Count);
                plan.DonePages += part.Count;
                plan.Outcome = plan.Outcome == PlanOutcome.NotTried && plan.DonePages == plan.Count
                    ? PlanOutcome.Done : plan.Outcome;
            }
            else if (status is OpLayout.StatusPartial or OpLayout.StatusThreadArea && plan.Outcome == PlanOutcome.NotTried)
            {
                uint done = (uint)(_control.DoneBytes(part.Operation) >> PageSize.Shift);
                Merged(plan, part, done);
                plan.DonePages += done;
                plan.Outcome = status == OpLayout.StatusThreadArea
                    ? PlanOutcome.ThreadArea
                    : Failure(_control.Stage(part.Operation), _control.Errno(part.Operation));
            }
        }
    }

    private void Merged(in MergePlan plan, Part part, uint pages)
    {
        if (plan.Kind == PlanKind.Share && pages > 0)
        {
            _newlyMerged.Add(new SharedRun(plan.Start + part.Offset, pages, plan.Slot + part.Offset));
        }
    }

    private void CollectCall(ref MergePlan plan, Part part)
    {
        if (_control.CallResult(part.Operation) == 0)
        {
            plan.DonePages += part.Count;
            plan.Outcome = plan.DonePages == plan.Count ? PlanOutcome.Done : plan.Outcome;
        }
        else if (plan.Outcome == PlanOutcome.NotTried)
        {
            plan.Outcome = PlanOutcome.Vanished;
        }
    }

    private static PlanOutcome Failure(uint stage, int errno) => (stage, errno) switch
    {
        (OpLayout.StageCompare, _) => PlanOutcome.ContentChanged,
        (_, Abi.ENOMEM) => PlanOutcome.OverVmaBudget,
        (OpLayout.StageMove, Abi.EBUSY) => PlanOutcome.Pinned,
        (OpLayout.StageMove, Abi.ENOENT or Abi.EINVAL or Abi.EFAULT) => PlanOutcome.Vanished,
        (OpLayout.StageMove, Abi.EAGAIN) => PlanOutcome.TargetBusy,
        (OpLayout.StageGate, Abi.EINVAL or Abi.EBUSY) => PlanOutcome.Vanished,
        _ => PlanOutcome.Refused,
    };

    private static void Give(Span<MergePlan> plans, PlanOutcome outcome)
    {
        foreach (ref MergePlan plan in plans)
        {
            if (plan.Outcome == PlanOutcome.NotTried)
            {
                plan.Outcome = outcome;
            }
        }
    }

    private void GiveParts(Span<MergePlan> plans, PlanOutcome outcome)
    {
        foreach (Part part in _parts.All)
        {
            ref MergePlan plan = ref plans[part.Plan];
            plan.Outcome = plan.Outcome == PlanOutcome.NotTried ? outcome : plan.Outcome;
        }
    }
}
