using System.Text.Json;

namespace Samepage;

/// <summary>The names of <see cref="NotMergedReason"/> in JSON and on the command line.</summary>
public static class NotMergedReasonNames
{
    private static readonly string[] Names =
    [
        .. Enum.GetValues<NotMergedReason>()
            .Select(reason => JsonNamingPolicy.SnakeCaseLower.ConvertName($"{reason}")),
    ];

    /// <summary>Number of reasons.</summary>
    public static int Count => Names.Length;

    /// <summary>The snake_case name, for example <c>over_vma_budget</c>.</summary>
    public static string JsonName(this NotMergedReason reason) => Names[(int)reason];
}
