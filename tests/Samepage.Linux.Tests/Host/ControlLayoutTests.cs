using System.Reflection;
using Samepage.Linux.Program;

namespace Samepage.Linux.Tests.Host;

/// <summary>The header of the control area has a place of its own for every field.</summary>
public sealed class ControlLayoutTests
{
    /// <summary>Fields of 4 bytes; all others have 8. Those below the end of the header that are sizes, not places.</summary>
    private static readonly string[] Short = [nameof(ControlLayout.Mutex), nameof(ControlLayout.Done), nameof(ControlLayout.OpCount)];
    private static readonly string[] Sizes = [nameof(ControlLayout.OperationBytes), nameof(ControlLayout.OperationsMax), nameof(ControlLayout.SlotBytes)];

    [Fact]
    public void No_two_fields_of_the_header_overlap()
    {
        (string Name, int Start, int End)[] fields =
        [
            .. typeof(ControlLayout).GetFields(BindingFlags.Public | BindingFlags.Static)
                .Where(field => field.FieldType == typeof(int) && !Sizes.Contains(field.Name))
                .Select(field => (field.Name, Start: (int)field.GetRawConstantValue()!))
                .Where(field => field.Start < ControlLayout.Adoption)
                .Select(field => (field.Name, field.Start, field.Start + (Short.Contains(field.Name) ? 4 : 8)))
                .OrderBy(field => field.Start),
        ];
        Assert.True(fields.Length > 20);
        Assert.All(fields.Zip(fields.Skip(1)), pair =>
            Assert.True(pair.First.End <= pair.Second.Start, $"{pair.First.Name} and {pair.Second.Name}"));
    }
}
