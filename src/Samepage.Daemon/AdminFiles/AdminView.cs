namespace Samepage.Daemon.AdminFiles;

/// <summary>One generation of KSM's directory /sys/kernel/mm/ksm.</summary>
internal sealed class AdminView
{
    private AdminView(string name, IReadOnlyList<AdminFile> files, bool badWriteReturnsZero = false)
    {
        Name = name;
        Files = files;
        BadWriteReturnsZero = badWriteReturnsZero;
    }

    /// <summary>"v4", "merged" or "modern".</summary>
    internal string Name { get; }

    /// <summary>The files in KSM's order.</summary>
    internal IReadOnlyList<AdminFile> Files { get; }

    /// <summary>True: a refused write returns 0 from write(2) and no error (April 2009).</summary>
    internal bool BadWriteReturnsZero { get; }

    /// <summary>All views.</summary>
    internal static IReadOnlyList<AdminView> All { get; } =
    [
        new("v4", FilesOf2009.V4, badWriteReturnsZero: true),
        new("merged", FilesOf2009.Merged),
        new("modern", ModernFiles.All),
    ];

    /// <summary>The view of that name.</summary>
    /// <exception cref="RequestException">There is none.</exception>
    internal static AdminView Find(string name) =>
        All.FirstOrDefault(view => view.Name == name) ?? throw new RequestException(
            ExitCode.Usage, $"there is no such view: the views are {string.Join(", ", All.Select(view => view.Name))}");
}
