using System.Buffers;

namespace Samepage;

/// <summary>
/// Plans that machines carry out while the engine scans on. Their pages stay planned until somebody needs to know what
/// became of them: then all are waited for, and settled.
/// </summary>
internal sealed class UnderWay
{
    private readonly List<Batch> _batches = [];

    /// <summary>A target's plans; the array is rented.</summary>
    public readonly record struct Batch(RegisteredTarget Target, MergePlan[] Plans, int Count);

    /// <summary>Who settles a batch that is done: gives its pages their new words.</summary>
    public Action<Batch> Settle { get; set; } = _ => { };

    /// <summary>Pages in plans under way.</summary>
    public long Pages { get; private set; }

    /// <summary>Starts plans that nobody has tried; at most one batch a target.</summary>
    /// <param name="target">Their target.</param>
    /// <param name="plans">The plans; a copy is carried out.</param>
    /// <param name="pages">Pages in them.</param>
    public void Start(RegisteredTarget target, ReadOnlySpan<MergePlan> plans, int pages)
    {
        MergePlan[] own = ArrayPool<MergePlan>.Shared.Rent(plans.Length);
        plans.CopyTo(own);
        _batches.Add(new Batch(target, own, plans.Length));
        Pages += pages;
        target.Target.Start(target.Pages.Domain.Store, own.AsMemory(0, plans.Length));
    }

    /// <summary>Waits for everything under way and settles it.</summary>
    public void Complete()
    {
        // By index and not foreach: settling may execute what is left of a plan, but starts nothing.
        for (int i = 0; i < _batches.Count; i++)
        {
            Batch batch = _batches[i];
            batch.Target.Target.Finish();
            Settle(batch);
            ArrayPool<MergePlan>.Shared.Return(batch.Plans);
        }

        _batches.Clear();
        Pages = 0;
    }

    /// <summary>The same if something is under way in that target.</summary>
    public void CompleteIn(RegisteredTarget target)
    {
        foreach (Batch batch in _batches)
        {
            if (batch.Target == target)
            {
                Complete();
                return;
            }
        }
    }
}
