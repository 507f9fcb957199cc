namespace Samepage.Linux.Host;

/// <summary>Whether the host has something.</summary>
public enum FeatureState
{
    /// <summary>It is there and we may use it.</summary>
    Present,

    /// <summary>The kernel does not have it.</summary>
    Missing,

    /// <summary>It is there, but we may not use it.</summary>
    NotPermitted,

    /// <summary>It could not be found out.</summary>
    Unknown,
}

/// <summary>One thing that was looked at on this host.</summary>
/// <param name="Name">Short name, such as <c>userfaultfd</c>.</param>
/// <param name="State">What was found.</param>
/// <param name="IsRequired">True when nothing can be merged without it.</param>
/// <param name="Detail">What was found, in words or as a value.</param>
/// <param name="Remedy">How to get it where it is not present; empty otherwise.</param>
public sealed record KernelFeature(string Name, FeatureState State, bool IsRequired, string Detail, string Remedy = "")
{
    /// <summary>True when it stands in the way of merging.</summary>
    public bool IsObstacle => IsRequired && State != FeatureState.Present;
}
