using Xunit;

namespace Samepage.Tests;

public class MmuNotifiersTests
{
    private const ulong Page = 0x7000;

    private readonly MmuNotifiers _notifiers = new();
    private readonly List<string> _log = [];

    [Fact]
    public void NotifiersAreCalledInTheOrderOfTheirRegistration()
    {
        _notifiers.Register(new Recorder("a", _log));
        _notifiers.Register(new Recorder("b", _log));
        _notifiers.Register(new Recorder("c", _log));
        _notifiers.ChangePte(Change(1));
        Assert.Equal(["a change 7000", "b change 7000", "c change 7000"], _log);
    }

    [Fact]
    public void ANotifierWithoutChangePteGetsAnInvalidationForEachPage()
    {
        _notifiers.Register(new PageInvalidator(_log));
        _notifiers.ChangePte(Change(3));
        Assert.Equal(["invalidate 7000", "invalidate 8000", "invalidate 9000"], _log);
    }

    [Fact]
    public void ANotifierWithoutRangesGetsAnInvalidationForEachPageOfTheStart()
    {
        _notifiers.Register(new PageInvalidator(_log));
        MmuRange range = _notifiers.InvalidateRangeStart(Page, Page + (2 * PageSize.Bytes));
        _notifiers.InvalidateRangeEnd(range);
        Assert.Equal(["invalidate 7000", "invalidate 8000"], _log);
    }

    [Fact]
    public void WhoRegistersDuringADeliveryGetsTheNextEvent()
    {
        var late = new Recorder("late", _log);
        _notifiers.Register(new Recorder("a", _log)
        {
            OnChange = () =>
            {
                if (_notifiers.Count == 1)
                {
                    _notifiers.Register(late);
                }
            },
        });
        _notifiers.ChangePte(Change(1));
        Assert.Equal(["a change 7000"], _log);
        _notifiers.ChangePte(Change(1));
        Assert.Equal(["a change 7000", "a change 7000", "late change 7000"], _log);
    }

    [Fact]
    public void WhoUnregistersDuringADeliveryIsReleasedAndNotCalledAnyMore()
    {
        var victim = new Recorder("b", _log);
        _notifiers.Register(new Recorder("a", _log) { OnChange = () => _notifiers.Unregister(victim) });
        _notifiers.Register(victim);
        _notifiers.Register(new Recorder("c", _log));
        _notifiers.ChangePte(Change(1));
        Assert.Equal(["a change 7000", "b release", "c change 7000"], _log);
        Assert.False(_notifiers.Unregister(victim));
    }

    [Fact]
    public void AnEndGoesToExactlyThoseThatGotTheStartAndAreStillThere()
    {
        var leaves = new Recorder("leaves", _log);
        _notifiers.Register(new Recorder("stays", _log));
        _notifiers.Register(leaves);
        MmuRange range = _notifiers.InvalidateRangeStart(Page, Page + PageSize.Bytes);
        _notifiers.Register(new Recorder("late", _log));
        _notifiers.Unregister(leaves);
        _log.Clear();
        _notifiers.InvalidateRangeEnd(range);
        Assert.Equal(["stays end 7000"], _log);
    }

    [Fact]
    public void ReleaseComesOnceAndIsTheLastCall()
    {
        _notifiers.Register(new Recorder("a", _log));
        _notifiers.Register(new Recorder("b", _log));
        _notifiers.Release();
        _notifiers.Release();
        _notifiers.ChangePte(Change(1));
        _notifiers.InvalidatePage(Page);
        Assert.Equal(["a release", "b release"], _log);
        Assert.Throws<InvalidOperationException>(() => _notifiers.Register(new Recorder("c", _log)));
    }

    [Fact]
    public void OneNotifierThatThrowsDoesNotKeepTheNewsFromTheOthers()
    {
        _notifiers.Register(new Recorder("a", _log) { OnChange = () => throw new TimeoutException("mine") });
        _notifiers.Register(new Recorder("b", _log));
        Assert.Equal("mine", Assert.Throws<TimeoutException>(() => _notifiers.ChangePte(Change(1))).Message);
        Assert.Equal(["a change 7000", "b change 7000"], _log);
    }

    [Fact]
    public void EveryNotifierIsAskedWhetherAPageIsYoung()
    {
        _notifiers.Register(new Recorder("a", _log) { IsYoung = true });
        _notifiers.Register(new Recorder("b", _log));
        Assert.True(_notifiers.ClearFlushYoung(Page));
        Assert.Equal(["a young 7000", "b young 7000"], _log);
    }

    [Fact]
    public void ANotifierIsRegisteredOnce()
    {
        var twice = new Recorder("a", _log);
        _notifiers.Register(twice);
        Assert.Throws<ArgumentException>(() => _notifiers.Register(twice));
    }

    private static PteChange Change(ulong pages) =>
        new(Page, pages * PageSize.Bytes, MmuEvent.Shared, "d", 5 * PageSize.Bytes);

    private sealed class Recorder(string name, List<string> log) : IMmuNotifier
    {
        public Action? OnChange { get; init; }

        public bool IsYoung { get; init; }

        public void ChangePte(in PteChange change)
        {
            log.Add($"{name} change {change.Address:x}");
            OnChange?.Invoke();
        }

        public void InvalidatePage(ulong address) => log.Add($"{name} invalidate {address:x}");

        public void InvalidateRangeStart(ulong start, ulong end) => log.Add($"{name} start {start:x}");

        public void InvalidateRangeEnd(ulong start, ulong end) => log.Add($"{name} end {start:x}");

        public bool ClearFlushYoung(ulong address)
        {
            log.Add($"{name} young {address:x}");
            return IsYoung;
        }

        public void Release() => log.Add($"{name} release");
    }

    private sealed class PageInvalidator(List<string> log) : IMmuNotifier
    {
        public void InvalidatePage(ulong address) => log.Add($"invalidate {address:x}");
    }
}
