namespace Samepage.Linux.Tests.Live;

/// <summary>The account of what of the store window has page-table entries.</summary>
public sealed class StoreWindowUseTests
{
    private static readonly PageRange Window = new(1000, 1000 + (1 << 20));

    [Fact]
    public void A_page_counts_with_the_sixteen_around_it_and_only_once()
    {
        var use = new StoreWindowUse();
        use.Touch(1040, 1);
        use.Touch(1055, 1);
        Assert.Equal(16, use.Pages);
        use.Touch(1041, 14);
        Assert.Equal(16, use.Pages);
        use.Touch(1041, 32);
        Assert.Equal(16 * 3, use.Pages);
    }

    [Fact]
    public void Whole_page_tables_are_taken_but_nothing_outside_the_window()
    {
        var use = new StoreWindowUse();
        use.Touch(1001, 1);
        use.Touch(1030, 2);
        use.Touch(9000, 1);
        Assert.Equal(new PageRange(1000, 9216), use.Extent(Window));
        Assert.Equal([new PageRange(1000, 1536), new PageRange(8704, 9216)], use.Take(Window, 1000));
        Assert.True(use.IsEmpty);
        Assert.Equal(0, use.Pages);
    }

    [Fact]
    public void No_more_is_taken_than_was_asked_for_but_for_the_last_page_table()
    {
        var use = new StoreWindowUse();
        for (ulong region = 4; region < 4000; region += 2)
        {
            use.Touch(region << 9, 100);
        }

        long pages = use.Pages;
        long taken = 0;
        while (!use.IsEmpty)
        {
            List<PageRange> ranges = use.Take(Window, 200);
            Assert.InRange(ranges.Count, 1, 2);
            taken += ranges.Count;
            pages -= ranges.Count * 112;
            Assert.Equal(pages, use.Pages);
        }

        Assert.Equal(1998, taken);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void However_the_window_is_gone_through_the_account_stays_small(bool downwards)
    {
        var use = new StoreWindowUse();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (ulong i = 0; i < 2000; i++)
        {
            use.Touch((downwards ? 3000 - i : 1000 + i) << 9, 16);
        }

        // 2,000 steps of at most 8,000 bytes each, and no doubling.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 20_000_000);
        Assert.Equal(2000 * 16, use.Pages);
        Assert.Equal(2000, use.Take(new PageRange(0, 1 << 21), 1 << 20).Sum(range => (long)(range.Count >> 9)));
        Assert.True(use.IsEmpty);
    }

    [Fact]
    public void What_nobody_knows_is_everything()
    {
        var use = new StoreWindowUse();
        use.Touch(5000, 1);
        use.TouchAll(Window);
        Assert.False(use.IsEmpty);
        Assert.Equal((long)Window.Count, use.Pages);
        use.Touch(6000, 1);
        Assert.Equal([Window], use.Take(Window, 1));
        Assert.True(use.IsEmpty);
    }
}
