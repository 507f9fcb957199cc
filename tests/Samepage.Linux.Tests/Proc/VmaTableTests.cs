using Samepage.Linux.Proc;

namespace Samepage.Linux.Tests.Proc;

/// <summary>The table of mappings against a model that knows every page.</summary>
public sealed class VmaTableTests
{
    private const ulong End = 400;

    [Fact]
    public void What_was_merged_is_entered_as_page_by_page()
    {
        for (int seed = 0; seed < 2000; seed++)
        {
            var random = new Random(seed);
            var table = new VmaTable();
            var model = new (SegmentKind Kind, uint Slot)?[End];
            Fill(random, table, model);
            for (int batch = 0; batch < 4; batch++)
            {
                table.ApplyMerged(Merge(random, table, model));
                Check(table, model);
            }
        }
    }

    private static void Fill(Random random, VmaTable table, (SegmentKind, uint)?[] model)
    {
        for (ulong page = (ulong)random.Next(5); page < End;)
        {
            ulong end = Math.Min(End, page + (ulong)random.Next(1, 60));
            SegmentKind kind = random.Next(3) == 0 ? SegmentKind.NotMerged : SegmentKind.Anonymous;
            Assert.True(table.Add(new VmaSegment { Range = new PageRange(page, end), Kind = kind }));
            Array.Fill<(SegmentKind, uint)?>(model, (kind, 0), (int)page, (int)(end - page));
            page = end + (ulong)(random.Next(3) == 0 ? random.Next(1, 9) : 0);
        }
    }

    /// <summary>Runs in address order; some lie across the end of a mapping, or in one that is merged or not mergeable.</summary>
    private static SharedRun[] Merge(Random random, VmaTable table, (SegmentKind Kind, uint Slot)?[] model)
    {
        var runs = new List<SharedRun>();
        for (ulong page = 0; page < End; page += (ulong)random.Next(1, 40))
        {
            uint count = (uint)Math.Min((ulong)random.Next(1, 12), End - page);
            uint slot = (uint)random.Next(1000);
            runs.Add(new SharedRun(page, count, slot));
            if (table.TryFind(page, out VmaSegment segment) && segment.Kind == SegmentKind.Anonymous
                && page + count <= segment.Range.End)
            {
                for (uint i = 0; i < count; i++)
                {
                    model[page + i] = (SegmentKind.Merged, slot + i);
                }
            }

            page += count;
        }

        return [.. runs];
    }

    private static void Check(VmaTable table, (SegmentKind Kind, uint Slot)?[] model)
    {
        ulong last = 0;
        foreach (VmaSegment segment in table.Segments)
        {
            Assert.True(segment.Range.Start >= last && !segment.Range.IsEmpty);
            last = segment.Range.End;
        }

        for (ulong page = 0; page < End; page++)
        {
            (SegmentKind, uint)? found = table.TryFind(page, out VmaSegment segment)
                ? (segment.Kind, segment.Kind == SegmentKind.Merged ? segment.Slot + (uint)(page - segment.Range.Start) : 0)
                : null;
            Assert.Equal(model[page], found);
        }
    }
}
