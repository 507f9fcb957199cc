using System.Runtime.ExceptionServices;

namespace Samepage;

/// <summary>
/// The notifiers of one address space, called in the order of their registration. Used by one thread at a time, the one
/// that changes the address space.
/// </summary>
/// <remarks>
/// What happens when the list changes while it is being called: a notifier that registers gets the next event, not
/// the one under way; one that unregisters is not called any more, not even for the event under way (after its
/// <see cref="IMmuNotifier.Release"/>). An InvalidateRangeEnd goes to exactly those that got its start and are still
/// registered. When a notifier throws, the others are called all the same and the first exception is thrown at the end.
/// </remarks>
public sealed class MmuNotifiers
{
    // Replaced, never changed: whoever goes through it has the notifiers of when he began.
    private IMmuNotifier[] _list = [];

    /// <summary>Registered notifiers.</summary>
    public int Count => _list.Length;

    /// <summary>True once the address space is gone.</summary>
    public bool IsReleased { get; private set; }

    /// <summary>Adds a notifier behind the others.</summary>
    /// <exception cref="ArgumentException">It is registered here already.</exception>
    /// <exception cref="InvalidOperationException">The address space is gone.</exception>
    public void Register(IMmuNotifier notifier)
    {
        ArgumentNullException.ThrowIfNull(notifier);
        if (IsReleased)
        {
            throw new InvalidOperationException("the address space is gone: nothing will be notified any more");
        }

        if (IsRegistered(notifier))
        {
            throw new ArgumentException("the notifier is registered already", nameof(notifier));
        }

        _list = [.. _list, notifier];
    }

    /// <summary>Takes a notifier off the list and releases it.</summary>
    /// <returns>False when it was not registered (any more): it has been released before.</returns>
    public bool Unregister(IMmuNotifier notifier)
    {
        ArgumentNullException.ThrowIfNull(notifier);
        if (!IsRegistered(notifier))
        {
            return false;
        }

        _list = [.. _list.Where(other => other != notifier)];
        notifier.Release();
        return true;
    }

    /// <summary>Entries point to other pages now; see <see cref="IMmuNotifier.ChangePte"/>.</summary>
    public void ChangePte(in PteChange change)
    {
        if (_list.Length > 0)
        {
            PteChange copy = change;
            Call(_list, notifier => notifier.ChangePte(copy));
        }
    }

    /// <summary>A page's entry is gone; see <see cref="IMmuNotifier.InvalidatePage"/>.</summary>
    public void InvalidatePage(ulong address)
    {
        if (_list.Length > 0)
        {
            Call(_list, notifier => notifier.InvalidatePage(address));
        }
    }

    /// <summary>Entries are about to change; see <see cref="IMmuNotifier.InvalidateRangeStart"/>.</summary>
    /// <returns>To be given to <see cref="InvalidateRangeEnd"/> when they have.</returns>
    public MmuRange InvalidateRangeStart(ulong start, ulong end)
    {
        IMmuNotifier[] list = _list;
        if (list.Length > 0)
        {
            Call(list, notifier => notifier.InvalidateRangeStart(start, end));
        }

        return new MmuRange(start, end, list);
    }

    /// <summary>The announced changes are done.</summary>
    public void InvalidateRangeEnd(in MmuRange range)
    {
        if (range.Told is { Length: > 0 } told)
        {
            (ulong start, ulong end) = (range.Start, range.End);
            Call(told, notifier => notifier.InvalidateRangeEnd(start, end));
        }
    }

    /// <summary>Was the page used through any notifier's translations? All are asked, as each has to forget it.
    /// </summary>
    public bool ClearFlushYoung(ulong address)
    {
        bool young = false;
        if (_list.Length > 0)
        {
            Call(_list, notifier => young |= notifier.ClearFlushYoung(address));
        }

        return young;
    }

    /// <summary>
    /// The address space is gone: releases all notifiers, each once. Nothing is delivered afterwards.
    /// </summary>
    public void Release()
    {
        IMmuNotifier[] list = _list;
        IsReleased = true;
        _list = [];
        ExceptionDispatchInfo? first = null;
        foreach (IMmuNotifier notifier in list)
        {
            Try(notifier, each => each.Release(), ref first);
        }

        first?.Throw();
    }

    private bool IsRegistered(IMmuNotifier notifier) => Array.IndexOf(_list, notifier) >= 0;

    private void Call(IMmuNotifier[] list, Action<IMmuNotifier> callback)
    {
        ExceptionDispatchInfo? first = null;
        foreach (IMmuNotifier notifier in list)
        {
            if (list == _list || IsRegistered(notifier))
            {
                Try(notifier, callback, ref first);
            }
        }

        first?.Throw();
    }

    private static void Try(IMmuNotifier notifier, Action<IMmuNotifier> callback, ref ExceptionDispatchInfo? first)
    {
#pragma warning disable CA1031 // thrown again once the others have been told: they must not keep a wrong translation
        try
        {
            callback(notifier);
        }
        catch (Exception e)
        {
            first ??= ExceptionDispatchInfo.Capture(e);
        }
#pragma warning restore CA1031
    }
}

/// <summary>A range announced by <see cref="MmuNotifiers.InvalidateRangeStart"/> and not yet ended.</summary>
public readonly struct MmuRange
{
    internal MmuRange(ulong start, ulong end, IMmuNotifier[] told)
    {
        Start = start;
        End = end;
        Told = told;
    }

    /// <summary>First byte address.</summary>
    public ulong Start { get; }

    /// <summary>Byte address after the last.</summary>
    public ulong End { get; }

    internal IMmuNotifier[]? Told { get; }
}
