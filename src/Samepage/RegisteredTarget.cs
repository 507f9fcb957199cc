namespace Samepage;

/// <summary>One target under the engine's care, with what the engine knows about its pages.</summary>
public sealed class RegisteredTarget
{
    internal RegisteredTarget(Engine engine, ITarget target, string domain, IReadOnlyList<PageRange>? ranges)
    {
        Engine = engine;
        Target = target;
        Domain = domain;
        Ranges = ranges;
    }

    /// <summary>The address space.</summary>
    public ITarget Target { get; }

    /// <summary>Trust domain: pages are shared only inside one.</summary>
    public string Domain { get; }

    /// <summary>What was asked for: sorted, disjoint spans, or null for everything mergeable.</summary>
    public IReadOnlyList<PageRange>? Ranges { get; }

    internal Engine Engine { get; }

    /// <summary>A snapshot of the target's counters.</summary>
    public TargetStatus Status() => throw new NotImplementedException();
}
