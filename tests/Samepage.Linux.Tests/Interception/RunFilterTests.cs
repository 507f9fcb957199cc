using Samepage.Linux.Host;
using Samepage.Linux.Interception;
using Samepage.Linux.Interop;
using Samepage.Linux.Tracing;

namespace Samepage.Linux.Tests.Interception;

/// <summary>What the filter of <c>samepage run</c> does with which call, judged without installing it.</summary>
public sealed class RunFilterTests
{
    private const ulong Anywhere = 0x7f00_0000_0000;

    [Theory]
    [InlineData(28, 12, true)]
    [InlineData(28, 13, true)]
    [InlineData(28, 4, false)]
    [InlineData(28, 14, false)]
    public void Only_KSM_s_advice_is_handed_over(int number, ulong advice, bool asks)
    {
        Assert.Equal(asks, Asks(number, true, Anywhere, 4096, advice));
        // Advice has 32 bits: what stands above them is nothing the kernel looks at.
        Assert.Equal(asks, Asks(number, true, Anywhere, 4096, advice | 0xdead_0000_0000));
    }

    [Theory]
    [InlineData(67, true)]
    [InlineData(68, true)]
    [InlineData(15, false)]
    public void Only_KSM_s_options_of_prctl_are_handed_over(ulong option, bool asks) =>
        Assert.Equal(asks, Asks(157, false, option));

    [Theory]
    [InlineData(0xAB00, true)]
    [InlineData(0x4018AB20, true)]
    [InlineData(0x4010AB20, true)]
    [InlineData(0xABFF, true)]
    [InlineData(0xAA00, false)]
    [InlineData(0x5401, false)]
    public void Ioctls_with_the_magic_number_are_handed_over_where_there_is_a_device(ulong request, bool asks)
    {
        Assert.Equal(asks, Asks(16, true, 3, request));
        Assert.False(Asks(16, false, 3, request));
    }

    [Theory]
    [InlineData(12)]
    [InlineData(13)]
    public void Process_madvise_is_refused_as_before_Linux_6_13(ulong advice) =>
        Assert.Equal("fails with error 22", Filters(true).Judge(new SeccompCall("", 440, 5, 0, 1, advice)).ToString());

    [Fact]
    public void Programs_with_32_bit_pointers_find_a_kernel_without_KSM()
    {
        const int x32 = 0x40000000;
        Assert.Equal("fails with error 22", Filters(true).Judge(new SeccompCall("", 28 | x32, 0, 0, 12)).ToString());
        Assert.Equal("fails with error 22", Filters(true).Judge(new SeccompCall("", 157 | x32, 67)).ToString());
        Assert.True(Filters(true).Judge(new SeccompCall("", 28 | x32, 0, 0, 4)).IsAllowed);
        Assert.True(Filters(true).Judge(new SeccompCall("", 1 | x32)).IsAllowed);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Everything_that_merging_does_in_a_target_is_allowed(bool device) =>
        Assert.Null(Filters(device).FirstRefused(SeccompGate.Calls));

    private static bool Asks(int number, bool device, params ulong[] arguments)
    {
        uint action = Filters(device).Judge(new SeccompCall("", number, arguments)).Action;
        Assert.Contains(action, (uint[])[Seccomp.SECCOMP_RET_USER_NOTIF, Seccomp.SECCOMP_RET_ALLOW]);
        return action == Seccomp.SECCOMP_RET_USER_NOTIF;
    }

    private static SeccompFilters Filters(bool device) => new([RunFilter.Program(device)]);
}
