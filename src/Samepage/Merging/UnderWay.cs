using System.Buffers;

namespace Samepage;

/// <summary>
/// Plans that machines carry out while the engine scans on, at most one batch of them in a target. Their pages stay
/// planned until somebody needs to know what became of them: then they are waited for, and settled.
/// </summary>
internal sealed class UnderWay
{
    private readonly List<Batch> _batches = [];

    /// <summary>A target's plans; the array is rented.</summary>
    public readonly record struct Batch(RegisteredTarget Target, MergePlan[] Plans, int Count, int Pages);

    /// <summary>Who settles a batch that is done: gives its pages their new words.</summary>
    public Action<Batch> Settle { get; set; } = _ => { };

    /// <summary>True when nothing is under way.</summary>
    public bool IsEmpty => _batches.Count == 0;

    /// <summary>Pages in plans under way.</summary>
    public long Pages { get; private set; }

    /// <summary>Memory of the plans under way, in bytes.</summary>
    public long MemoryBytes => _batches.Sum(batch => batch.Plans.Length * 32L);

    /// <summary>Starts plans that nobody has tried; at most one batch a target.</summary>
    /// <param name="target">Their target.</param>
    /// <param name="plans">The plans; a copy is carried out.</param>
    /// <param name="pages">Pages in them.</param>
    public void Start(RegisteredTarget target, ReadOnlySpan<MergePlan> plans, int pages)
    {
        MergePlan[] own = ArrayPool<MergePlan>.Shared.Rent(plans.Length);
        plans.CopyTo(own);
        _batches.Add(new Batch(target, own, plans.Length, pages));
        Pages += pages;
        target.Target.Start(target.Pages.Domain.Store, own.AsMemory(0, plans.Length));
    }

    /// <summary>Waits for everything under way and settles it.</summary>
    public void Complete()
    {
        while (_batches.Count > 0)
        {
            Complete(0);
        }
    }

    /// <summary>Waits for what was started first and settles it. There has to be something.</summary>
    public void CompleteFirst() => Complete(0);

    /// <summary>Waits for what is under way in that target, if there is something, and settles it.</summary>
    public void CompleteIn(RegisteredTarget target)
    {
        int index = IndexOf(target);
        if (index >= 0)
        {
            Complete(index);
        }
    }

    /// <summary>Settles what is under way in that target if it is done.</summary>
    /// <returns>True when nothing is under way there any more.</returns>
    public bool TryCompleteIn(RegisteredTarget target)
    {
        int index = IndexOf(target);
        if (index >= 0 && target.Target.IsUnderWay)
        {
            return false;
        }

        CompleteIn(target);
        return true;
    }

    private int IndexOf(RegisteredTarget target)
    {
        for (int i = 0; i < _batches.Count; i++)
        {
            if (_batches[i].Target == target)
            {
                return i;
            }
        }

        return -1;
    }

    private void Complete(int index)
    {
        Batch batch = _batches[index];
        batch.Target.Target.Finish();
        Settle(batch);
        // Settling may execute what is left of a plan, but starts nothing.
        _batches.RemoveAt(index);
        Pages -= batch.Pages;
        ArrayPool<MergePlan>.Shared.Return(batch.Plans);
    }
}
